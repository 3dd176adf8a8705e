"""The performance profile: who solves how many problems within which factor of the fastest."""

from matplotlib.figure import Figure

from service.comparison.across_workloads import performance_profiles
from service.comparison.plots.style import Plot, arm_styles, label, legend, render
from service.comparison.runs import AXES, Experiment

BEST_FIRST = ("seconds", "flops", "passes", "step", "epoch")


def profile_axis(experiment: Experiment) -> str | None:
    """The most telling axis that every arm has; None without one."""
    return next((axis for axis in BEST_FIRST if performance_profiles(experiment, axis)), None)


def performance_profile(experiment: Experiment) -> Plot:
    styles = arm_styles(experiment)
    axis = profile_axis(experiment) or "seconds"
    found = performance_profiles(experiment, axis)

    def draw(figure: Figure) -> str:
        axes = figure.subplots()
        said = []
        for i, profile in enumerate(found):
            style = styles[profile.arm]
            axes.step(
                profile.factors,
                100 * profile.share,
                where="post",
                color=style.colour,
                linestyle=style.line,
                linewidth=style.width,
                marker=style.marker,
                markevery=(5 * i, 32),
            )
            said.append(
                f"{label(profile.arm)} fastest on {100 * profile.share[0]:.0f} %, "
                f"solves {100 * profile.share[-1]:.0f} %"
            )
        axes.set_xscale("log", base=2)
        ticks = [1, 2, 4, 8, 16, 32]
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.set_ylim(-3, 103)
        axes.set_xlabel(f"{AXES[axis]} to target, as a multiple of the fastest arm's")
        axes.set_ylabel("problems solved (%)")
        legend(figure, styles, [profile.arm for profile in found])
        return (
            f"Performance profile over {found[0].problems} problems (a workload with a seed each): share solved "
            f"within a multiple of the fastest arm's {AXES[axis]}. {'; '.join(said)} within 32 times."
        )

    return render("performance-profile", "Performance profile of time to target", draw, (6.8, 3.7))
