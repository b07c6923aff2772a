// The form for a wish: a growing text field and a button; Enter sends, Shift+Enter breaks the line.

import { h } from "./dom.js";

const MAX_DESCRIPTION_CHARS = 20_000;

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
    h("div", { class: "wish-actions" }, button),
  );

  function send() {
    const description = field.value.trim();
    if (!description) return;
    field.value = "";
    onWish(description);
  }

  return {
    element,
    focus: () => field.focus(),
    fill: (text) => {
      field.value = text;
      field.focus();
    },
    actions: element.lastElementChild,
  };
}
