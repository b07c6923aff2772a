// Making elements. Text always becomes a text node: nothing from the wire is read as HTML.

/** Make an element: `on*` members are listeners, others attributes (false and null leave them out). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function clear(element) {
  element.replaceChildren();
}

/** Return a function that runs `draw` once in the next animation frame, however often it is called. */
export function oncePerFrame(draw) {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    // A hidden tab has no animation frames; it still has to follow.
    const soon = document.hidden ? (run) => setTimeout(run, 200) : requestAnimationFrame;
    soon(() => {
      isDue = false;
      draw();
    });
  };
}
