// The form for a wish: a growing text field, a choice of when it counts, and a button; Enter sends,
// Shift+Enter breaks the line.

import { h } from "./dom.js";

const MAX_DESCRIPTION_CHARS = 20_000;

/** When a wish counts that is sent while a run is under way. */
const MODES = {
  queue: "after this run",
  steer: "now, go on with it",
  replace: "instead of this run",
};

export function wishForm({ label, action, onWish, ...attributes }) {
  const field = h("textarea", {
    "aria-label": label,
    placeholder: label,
    maxlength: MAX_DESCRIPTION_CHARS,
    rows: 2,
    required: true,
    onkeydown: (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      send();
    },
  });
  const button = h("button", { type: "submit", class: "main" }, action);
  const options = Object.entries(MODES).map(([mode, words]) => h("option", { value: mode }, words));
  const choice = h("select", { "aria-label": "When it counts", hidden: true }, ...options);
  const element = h(
    "form",
    {
      class: "wish",
      onsubmit: (event) => {
        event.preventDefault();
        send();
      },
      ...attributes,
    },
    field,
    h("div", { class: "wish-actions" }, choice, button),
  );

  function send() {
    const description = field.value.trim();
    if (!description) return;
    field.value = "";
    onWish(description, choice.hidden ? "queue" : choice.value);
    choice.value = "queue";
  }

  return {
    element,
    focus: () => field.focus(),
    fill: (text) => {
      field.value = text;
      field.focus();
    },
    actions: element.lastElementChild,
    offerModes: (isOffered) => {
      choice.hidden = !isOffered;
    },
  };
}
