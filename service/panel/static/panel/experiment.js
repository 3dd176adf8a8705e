// The live part of an experiment's page: progress from the API's JSON; the tables come anew when a job has ended.
"use strict";

const POLL_MS = 3000;
const main = document.getElementById("experiment");
const live = JSON.parse(main.dataset.live);

async function look() {
  const response = await fetch(live.experiment, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`${live.experiment} answered ${response.status}`);
  return response.json();
}

function fill(experiment) {
  const { fraction, ended, planned, eta_seconds: left } = experiment.progress;
  const share = Math.round(100 * fraction);
  document.getElementById("experiment-sentence").textContent = experiment.sentence;
  document.getElementById("experiment-bar").style.width = `${share}%`;
  document.getElementById("experiment-bar").parentElement.setAttribute("aria-valuenow", share);
  document.getElementById("experiment-progress").textContent =
    `${share} %, ${ended} of ${planned} jobs have ended` + (left ? `, about ${Math.ceil(left)} s left` : "");
}

function isTyping() {
  const seeds = document.getElementById("seeds");
  return seeds !== null && (seeds === document.activeElement || seeds.value !== "");
}

async function follow() {
  try {
    const experiment = await look();
    fill(experiment);
    const { ended, jobs } = experiment.progress;
    const moved = String(ended) !== main.dataset.ended || String(jobs) !== main.dataset.jobs;
    if ((moved || experiment.state !== main.dataset.state) && !isTyping()) return location.reload();
    if (experiment.state !== "running" && !moved) return undefined;
  } catch (error) {
    document.getElementById("experiment-progress").textContent = `The service does not answer: ${error.message}`;
  }
  return setTimeout(follow, POLL_MS);
}

if (main.dataset.state === "running") setTimeout(follow, POLL_MS);
