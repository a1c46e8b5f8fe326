// Elements of the page. Text is never parsed as HTML.

/** Creates an element with properties, attributes (names with a dash, and `role`) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

/** A table's row; rows of the head have `th` cells. */
export function row(cells, tag = "td") {
  const scope = tag === "th" ? { scope: "col" } : {};
  return element("tr", {}, ...cells.map((cell) => element(tag, scope, cell)));
}

/** Places an element by fractions of its container's width or height. */
export function place(target, sides) {
  for (const [side, fraction] of Object.entries(sides)) {
    target.style.setProperty(side, `${(fraction * 100).toFixed(3)}%`);
  }
}

/** Roving tabindex: Tab reaches one button of the toolbar, and arrow keys move between them. */
export function rove(toolbar) {
  const buttons = () => [...toolbar.querySelectorAll("button")];
  toolbar.addEventListener("focusin", (event) => {
    for (const button of buttons()) button.tabIndex = button === event.target ? 0 : -1;
  });
  toolbar.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(document.activeElement);
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    let next = at + (steps[event.key] ?? 0);
    if (event.key === "Home") next = 0;
    else if (event.key === "End") next = all.length - 1;
    else if (!(event.key in steps)) return;
    event.preventDefault();
    all[(next + all.length) % all.length]?.focus();
  });
}

export function number(value, digits = 3) {
  return value.toFixed(digits).replace("-", "−");
}
