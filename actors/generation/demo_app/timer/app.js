"use strict";

const modes = {
  focus: { minutes: 25, ready: "Ready to focus", running: "Stay with it" },
  short: { minutes: 5, ready: "Time for a breather", running: "Breathe" },
  long: { minutes: 15, ready: "Time for a real break", running: "Rest well" },
};
const roundsUntilLongBreak = 4;
const title = document.title;
const element = (id) => document.getElementById(id);
const modeButtons = document.querySelectorAll("[data-mode]");

let mode = "focus";
let finished = 0; // focus sessions
let leftMs = modes.focus.minutes * 60_000;
let endsAt = null; // clock time while running: a throttled background tab stays right
let ticker = null;
let audio = null;

function choose(next) {
  stop();
  mode = next;
  leftMs = modes[mode].minutes * 60_000;
  show();
}

function start() {
  audio ??= openAudio();
  endsAt = Date.now() + leftMs;
  ticker = setInterval(tick, 200);
  show();
}

function stop() {
  if (endsAt !== null) leftMs = Math.max(0, endsAt - Date.now());
  endsAt = null;
  clearInterval(ticker);
}

function tick() {
  leftMs = Math.max(0, endsAt - Date.now());
  if (leftMs === 0) finish();
  else show();
}

function finish() {
  chime();
  const task = element("task").value.trim();
  element("announcer").textContent =
    mode === "focus" ? `Session finished${task ? `: ${task}` : ""}. Take a break.` : "Break over.";
  if (mode === "focus") finished += 1;
  next();
}

function next() {
  if (mode !== "focus") choose("focus");
  else choose(finished > 0 && finished % roundsUntilLongBreak === 0 ? "long" : "short");
}

function show() {
  const seconds = Math.ceil(leftMs / 1000);
  const time = [Math.floor(seconds / 60), seconds % 60].map((n) => String(n).padStart(2, "0")).join(":");
  const total = modes[mode].minutes * 60_000;
  const isRunning = endsAt !== null;
  element("time").textContent = time;
  element("ring").style.strokeDashoffset = String(100 * (1 - leftMs / total));
  element("phase").textContent = isRunning ? modes[mode].running : leftMs < total ? "Paused" : modes[mode].ready;
  element("toggle").textContent = isRunning ? "Pause" : leftMs < total ? "Resume" : "Start";
  document.title = isRunning ? `${time} · ${title}` : title;
  for (const button of modeButtons) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));

  const inRound = finished % roundsUntilLongBreak || (finished > 0 && mode === "long" ? roundsUntilLongBreak : 0);
  element("dots").replaceChildren(...Array.from({ length: roundsUntilLongBreak }, (_, index) => {
    const dot = document.createElement("i");
    dot.className = index < inRound ? "done" : "";
    return dot;
  }));
  element("count").textContent =
    finished === 0 ? "No session finished yet" : `${finished} session${finished === 1 ? "" : "s"} finished`;
}

function openAudio() {
  const Context = window.AudioContext || window.webkitAudioContext;
  return Context ? new Context() : null;
}

function chime() {
  if (!audio) return;
  for (const [index, pitch] of [660, 880, 1100].entries()) {
    const at = audio.currentTime + index * 0.18;
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.2, at);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.5);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.5);
  }
}

function toggle() {
  if (endsAt === null) return start();
  stop();
  show();
}

element("toggle").addEventListener("click", toggle);
element("reset").addEventListener("click", () => choose(mode));
element("skip").addEventListener("click", next);
for (const button of modeButtons) button.addEventListener("click", () => choose(button.dataset.mode));
document.addEventListener("keydown", (event) => {
  if (event.code !== "Space" || event.target.closest("button, input")) return;
  event.preventDefault();
  toggle();
});
show();
