// Elements. What they say is always text: nothing that comes from data is ever read as markup.

/** An element with attributes (`true` for those without a value) and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Shows a cell: text, `{ text, tone }`, or several of them. What is there already is left alone. */
export function say(where, said) {
  const parts = (Array.isArray(said) ? said : [said]).map((part) =>
    part !== null && typeof part === "object" ? part : { text: part, tone: "" },
  );
  parts.forEach(({ text, tone }, place) => {
    const span = where.children[place] ?? where.appendChild(element("span"));
    const words = String(text ?? "–");
    if (span.textContent !== words) span.textContent = words;
    if (span.className !== (tone ?? "")) span.className = tone ?? "";
  });
  while (where.children.length > parts.length) where.lastElementChild.remove();
}
