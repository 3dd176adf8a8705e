"""The comparison: can anything dethrone backprop? Pure functions from an experiment's numbers to verdicts and pictures.

runs.py says what goes in; statistics.py and verdicts.py decide, by the rules of docs/explanation/protocol.md;
scorecard.py puts the verdicts together; plots/ and report/ show them. Neither Django nor torch is imported here.

    experiment = Experiment(name, runs)
    scorecard = score(experiment)
    page = report_html(experiment, scorecard, draw_all(experiment))
"""
