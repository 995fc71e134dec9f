// Small helpers for the page's elements.

export const $ = (id) => document.getElementById(id);

/** A new element: el("li", {className: "x", onclick: f}, "text", child). Text is never read as HTML. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for" || name === "scope") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function show(node, visible) {
  node.hidden = !visible;
}

/** Shows a text in an element made for it, or hides the element where there is none. */
export function say(node, text) {
  node.textContent = text || "";
  node.hidden = !text;
}

/** A question in a dialog; resolves to the value of the button pressed, "" when it was dismissed. */
export function ask(text, answers) {
  const buttons = answers.map(([value, label]) => el("button", { type: "submit", value, className: "grow" }, label));
  const dialog = el("dialog", { className: "ask", "aria-label": text },
    el("p", {}, text), el("form", { method: "dialog", className: "row" }, ...buttons));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/** A row of buttons of which one is pressed. Returns a function that marks the pressed one. */
export function choices(node, entries, choose) {
  const buttons = entries.map(([value, label, title]) =>
    el("button", { type: "button", title: title || "", "data-value": value, "aria-pressed": "false",
      onclick: () => choose(value) }, label));
  node.replaceChildren(...buttons);
  return (value) => buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.value === value)));
}
