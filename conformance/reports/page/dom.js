// Make elements. Text from outside only becomes text nodes, never markup.

/** Makes an element with attributes, listeners (`onclick`) and children: nodes or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const byId = (id) => document.getElementById(id);

/** Replaces the children of an element. */
function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Formats a number with its noun, with thousands separators. */
function many(count, one, several = `${one}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? one : several}`;
}

/** Formats the first names and the number of the others. */
function listed(names, most = 4) {
  const more = names.length > most ? ` and ${(names.length - most).toLocaleString('en')} more` : '';
  return names.slice(0, most).join(', ') + more;
}

/** Makes a sentence of the suite, with code in backquotes. */
function prose(text) {
  return text.split(/`+/).map((part, index) => index % 2 ? make('code', {}, part) : part);
}

/** Makes a list that shows more entries by a button. */
function longList(tag, items, most, build) {
  const list = make(tag);
  const grow = (from) => {
    list.append(...items.slice(from, from + most).map(build));
    const left = items.length - from - most;
    if (left <= 0) return;
    const button = make('button', {type: 'button', class: 'more', onclick: () => {
      holder.remove();
      grow(from + most);
    }}, `Show ${many(Math.min(left, most), 'more', 'more')} of ${left.toLocaleString('en')}`);
    const holder = make(tag === 'ul' || tag === 'ol' ? 'li' : 'div', {class: 'more-holder'}, button);
    list.append(holder);
  };
  grow(0);
  return list;
}

/** Makes a text box with a copy button. */
function copied(text, label) {
  const box = make('pre', {tabindex: '0', 'aria-label': label}, make('code', {}, text));
  const button = make('button', {type: 'button', class: 'copy', onclick: async () => {
    button.textContent = await copy(text, box) ? 'Copied' : 'Press Ctrl+C';
  }}, 'Copy');
  return make('div', {class: 'copied'}, button, box);
}

/** Copies a text. If the browser denies access to the clipboard, selects the text for copying by hand. */
async function copy(text, box) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(box);
    return document.execCommand('copy');
  }
}
