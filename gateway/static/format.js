// Figures and words for people.

export const STATE_WORDS = {
  idle: "Idle",
  designing_phase: "Designing",
  implementing_phase: "Writing files",
  installing_deps: "Installing dependencies",
  checking_build: "Checking the build",
  starting_server: "Starting the app",
  paused: "Paused",
  complete: "Complete",
  error: "Stopped by an error",
};

const encoder = new TextEncoder();

export function byteSize(text) {
  return encoder.encode(text).length;
}

/** 812 B, 3.4 KB, 1.2 MB (of 1,000). */
export function sizeText(size) {
  if (size < 1000) return `${size} B`;
  return size < 999_950 ? `${(size / 1000).toFixed(1)} KB` : `${(size / 1e6).toFixed(1)} MB`;
}

/** What model calls have consumed, in words: "8,561 tokens, $0.0123". */
export function usageText({ promptTokens, completionTokens, costUsd }) {
  const tokens = `${(promptTokens + completionTokens).toLocaleString("en")} tokens`;
  return costUsd > 0 ? `${tokens}, $${costUsd.toFixed(4)}` : tokens;
}

/** "just now", "5 min ago", "3 h ago", then the date. */
export function agoText(time, now = Date.now()) {
  const minutes = Math.floor((now - new Date(time).getTime()) / 60_000);
  if (Number.isNaN(minutes)) return "";
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return new Date(time).toLocaleDateString();
}

/** Make up a project id that can be recognised: the first words and a random end. */
export function newProjectId(description) {
  const words = description.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  const telling = words.filter((word) => !["a", "an", "the"].includes(word));
  return [...telling.slice(0, 3).map((word) => word.slice(0, 16)), randomHex(3)].join("-");
}

/** `crypto.randomUUID` exists on HTTPS and localhost only; this works everywhere. */
export function randomHex(bytes) {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, (value) => value.toString(16).padStart(2, "0")).join("");
}
