// The live part of a job's page: curves, layer table, state and progress, all from the API's JSON.
"use strict";

const COLOURS = { train: "#0072b2", validation: "#e69f00", test: "#009e73" };
const DASHES = { train: [6, 3], validation: [2, 2], test: [] };
const POLL_MS = 2000;

const main = document.querySelector(".panel-job");
const live = JSON.parse(main.dataset.live);
const charts = {};
let curves = [];

async function read(url) {
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`${url} answered ${response.status}`);
  return response.json();
}

function seriesOf(measure) {
  const axis = document.getElementById("axis").value;
  return curves
    .filter((curve) => curve.name.endsWith(`_${measure}`))
    .map((curve) => {
      const split = curve.name.split("_")[0];
      const points = curve[axis].map((x, i) => ({ x, y: curve.value[i] }));
      return {
        label: curve.name.replaceAll("_", " "), data: points, borderColor: COLOURS[split] || "#cc79a7",
        backgroundColor: COLOURS[split] || "#cc79a7", borderDash: DASHES[split] || [4, 4],
        borderWidth: 2, pointRadius: points.length > 40 ? 0 : 2.5, tension: 0,
      };
    });
}

function draw(measure, type) {
  const canvas = document.getElementById(`${measure}-chart`);
  const dark = document.documentElement.classList.contains("dark");
  const ink = dark ? "#d5d9e2" : "#333a47", grid = dark ? "#2c313b" : "#e6e8ee";
  const scale = (text) => ({ title: { display: Boolean(text), text, color: ink }, ticks: { color: ink }, grid: { color: grid } });
  charts[measure] ??= new Chart(canvas, {
    type: "line", data: { datasets: [] },
    options: {
      animation: false, maintainAspectRatio: false, parsing: false, interaction: { mode: "nearest", intersect: false },
      scales: { x: { type: "linear", ...scale("") }, y: { type, grace: "5%", ...scale("") } },
      plugins: { legend: { labels: { color: ink, boxHeight: 0 } } },
    },
  });
  const chart = charts[measure];
  chart.data.datasets = seriesOf(measure);
  chart.options.scales.x.title = { display: true, text: document.getElementById("axis").selectedOptions[0].text, color: ink };
  chart.options.scales.x.ticks.precision = document.getElementById("axis").value === "seconds" ? undefined : 0;
  chart.update();
}

function drawAll() {
  document.getElementById("no-curves").hidden = curves.length > 0;
  document.getElementById("charts").hidden = curves.length === 0;
  if (curves.length === 0) return;
  draw("accuracy", "linear");
  draw("loss", "logarithmic");
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  return value !== 0 && (Math.abs(value) < 0.001 || Math.abs(value) >= 1e5) ? value.toExponential(2) : String(+value.toPrecision(4));
}

function fillLayers(rows) {
  const last = rows.at(-1);
  if (!last) return;
  document.getElementById("verdict").textContent = `Step ${last.step}: ${last.verdict || "nothing unusual"}`;
  const columns = [...new Set(last.layers.flatMap((layer) => Object.keys(layer)))]
    .filter((name) => last.layers.some((layer) => layer[name] !== null && typeof layer[name] !== "object"));
  const row = (cells, tag) => {
    const line = document.createElement("tr");
    for (const cell of cells) line.appendChild(Object.assign(document.createElement(tag), { textContent: cell }));
    return line;
  };
  document.querySelector("#layers thead").replaceChildren(row(columns.map((name) => name.replaceAll("_", " ")), "th"));
  document.querySelector("#layers tbody").replaceChildren(
    ...last.layers.map((layer) => row(columns.map((name) => shown(layer[name])), "td")));
}

function fillState(job) {
  const state = document.getElementById("job-state");
  if (state.textContent !== job.state && state.dataset.seen) return location.reload();
  state.dataset.seen = "yes";
  document.getElementById("job-sentence").textContent = job.sentence;
  const progress = job.progress || {};
  const share = job.state === "succeeded" ? 100 : Math.round(100 * (progress.fraction || 0));
  document.getElementById("job-bar").style.width = `${share}%`;
  const rest = progress.eta_seconds && !live.final ? `, about ${Math.ceil(progress.eta_seconds)} s left` : "";
  document.getElementById("job-progress").textContent = `${share} %` + (progress.epochs ? `, epoch ${progress.epoch} of ${progress.epochs}${rest}` : "");
  live.final = ["succeeded", "failed", "cancelled"].includes(job.state);
}

async function refresh() {
  const [job, metrics, diagnostics] = await Promise.all([read(live.job), read(live.metrics), read(`${live.diagnostics}?points=2`)]);
  curves = metrics.results;
  fillState(job);
  drawAll();
  fillLayers(diagnostics.results);
}

async function follow() {
  try {
    await refresh();
  } catch (error) {
    document.getElementById("job-progress").textContent = `The service does not answer: ${error.message}`;
  }
  if (!live.final) setTimeout(follow, POLL_MS);
}

document.getElementById("axis").addEventListener("change", drawAll);
follow();
