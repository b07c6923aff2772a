"use strict";

(() => {
  const latestChange = {{latest_change}};
  const startTheme = {{start_theme}}; // null follows the system
  const storageKey = `theme:${startTheme}:${location.pathname}`;
  const root = document.documentElement;
  const sun = '<circle cx="12" cy="12" r="4.2"/><path d="M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4"/>';
  const moon = '<path d="M20 14.2A8.2 8.2 0 0 1 9.8 4 8.2 8.2 0 1 0 20 14.2Z"/>';

  // Storage is closed to a page in a sandboxed frame; the choice then lives as long as the page.
  const stored = (action) => {
    try {
      return action(localStorage);
    } catch {
      return null;
    }
  };

  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  const button = document.createElement("button");
  button.type = "button";
  button.className = "theme-switch";

  const show = () => {
    button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true">${isDark() ? sun : moon}</svg>`;
    button.setAttribute("aria-label", isDark() ? "Use the light theme" : "Use the dark theme");
  };

  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored((storage) => storage.setItem(storageKey, root.dataset.theme));
    show();
  });

  // Before the first paint, so that the page never flashes in the other theme.
  const theme = stored((storage) => storage.getItem(storageKey)) ?? startTheme;
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;

  document.addEventListener("DOMContentLoaded", () => {
    const header = document.querySelector("header") ?? document.body;
    if (latestChange) {
      const note = document.createElement("p");
      note.className = "latest-change";
      note.textContent = `New: ${latestChange}`;
      header.prepend(note);
    }
    header.append(button);
    show();
  });
})();
