// The matrix: cells down, exchanges across. Only visible rows are in the document, to keep thousands of cells fast.

/** Height of a row in pixels; must match the style sheet. */
const ROW = 40;
/** Number of rows that are kept above and below the view. */
const MARGIN = 8;
/** Minimum number of columns under the name of a protocol; with fewer, the name is beside the pair. */
const WIDE = 4;
/** Length from which a cell's name uses a smaller font. */
const LONG = 24;

class Matrix {
  /** Calls `open(cell, column)` for the selected field; `column` is NONE for the cell itself. */
  constructor(model, open) {
    this.model = model;
    this.open = open;
    this.rows = new Map();
    this.active = {row: 0, column: 0};
    this.axes = differingAxes(model.cells);
    this.body = make('tbody');
    this.above = make('tr', {class: 'space', 'aria-hidden': 'true'}, make('td'));
    this.below = make('tr', {class: 'space', 'aria-hidden': 'true'}, make('td'));
    this.head = make('thead');
    this.table = make('table', {role: 'presentation'}, this.head, this.body);
    this.element = make('div', {
      class: 'matrix', role: 'grid', tabindex: '0', 'aria-label': 'Cells by exchanges; arrow keys move, Enter opens',
      onscroll: () => this.draw(), onkeydown: (event) => this.key(event), onclick: (event) => this.click(event),
      onfocus: () => this.mark(),
    }, this.table);
    addEventListener('resize', () => this.draw());
    addEventListener('beforeprint', () => this.draw(true));
    addEventListener('afterprint', () => this.draw());
  }

  /** Shows another view of the run. */
  show(view) {
    this.view = view;
    this.rows.clear();
    this.body.replaceChildren(this.above, this.below);
    this.head.replaceChildren(...this.header());
    this.element.style.setProperty('--axes', this.axes.length);
    this.element.setAttribute('aria-rowcount', view.cells.length + 1);
    this.element.setAttribute('aria-colcount', view.columns.length + 1);
    this.active.row = Math.min(this.active.row, Math.max(view.cells.length - 1, 0));
    this.active.column = Math.min(this.active.column, view.columns.length);
    this.draw();
  }

  header() {
    const {columns} = this.view, all = this.model.columns;
    const groups = [];
    for (const column of columns) {
      const last = groups[groups.length - 1];
      if (last && last.name === all[column].group) last.span++;
      else groups.push({name: all[column].group, span: 1});
    }
    const narrow = new Set(groups.filter(({span}) => span < WIDE).map(({name}) => name));
    return [
      make('tr', {class: 'groups', role: 'presentation'}, make('td', {class: 'corner'}),
        groups.map(({name, span}) => make('th', {colspan: span, title: name, role: 'presentation'}, narrow.has(name) ? null : make('span', {}, name)))),
      make('tr', {class: 'pairs', role: 'row', 'aria-rowindex': '1'},
        make('th', {class: 'corner', role: 'columnheader', 'aria-colindex': '1'},
          make('div', {}, make('b', {}, 'Cell'), this.axes.map((axis) => make('span', {}, axis)))),
        columns.map((column, index) => make('th', {
          role: 'columnheader', 'aria-colindex': index + 2, class: this.edge(index),
          title: `${all[column].pair}, ${all[column].group}`, 'aria-label': `${all[column].pair}, ${all[column].group}`,
        }, make('span', {}, all[column].pair, narrow.has(all[column].group) ? make('small', {}, all[column].group) : null)))),
    ];
  }

  /** Returns the class of a border: strong at a new group, faint at a new producer. */
  edge(index) {
    const {columns} = this.view, all = this.model.columns;
    if (index === 0) return 'edge';
    const here = all[columns[index]], before = all[columns[index - 1]];
    if (here.group !== before.group) return 'edge';
    return here.producer !== before.producer ? 'faint' : null;
  }

  /** Adds the visible rows to the document and removes the others. */
  draw(every = false) {
    if (!this.view) return;
    const {cells} = this.view, {scrollTop, clientHeight} = this.element;
    const first = every ? 0 : Math.max(Math.floor(scrollTop / ROW) - MARGIN, 0);
    const end = every ? cells.length : Math.min(Math.ceil((scrollTop + (clientHeight || innerHeight)) / ROW) + MARGIN, cells.length);
    for (const [index, row] of this.rows) {
      if (index >= first && index < end) continue;
      row.remove();
      this.rows.delete(index);
    }
    this.insert(first, end);
    this.above.firstChild.style.height = `${first * ROW}px`;
    this.below.firstChild.style.height = `${(cells.length - end) * ROW}px`;
    this.mark();
  }

  insert(first, end) {
    let next = this.below;
    for (let index = end - 1; index >= first; index--) {
      if (!this.rows.has(index)) {
        this.rows.set(index, this.row(index));
        this.body.insertBefore(this.rows.get(index), next);
      }
      next = this.rows.get(index);
    }
  }

  row(index) {
    const number = this.view.cells[index], cell = this.model.cells[number];
    const name = make('th', {
      role: 'rowheader', id: fieldId(index, 0), 'data-row': index, 'data-column': 0, 'aria-colindex': '1', title: `${cell.title}\n${versionsOf(cell)}`,
    }, make('div', {}, make('b', {class: cell.title.length > LONG ? 'long' : null}, cell.title), this.axes.map((axis) => make('span', {'aria-label': `${axis} ${cell.axes[axis] || 'not in it'}`}, cell.axes[axis] || '–'))));
    const fields = this.view.isTested(number)
      ? this.view.columns.map((column, place) => this.field(index, place + 1, number, column))
      : [this.untested(index, cell)];
    return make('tr', {role: 'row', 'aria-rowindex': index + 2, class: isTroubled(cell) ? 'troubled' : null}, name, fields);
  }

  field(index, place, cell, column) {
    const counts = this.view.field(cell, column), state = worst(this.model, counts), {pair, group} = this.model.columns[column];
    const waived = this.model.waived && state === this.model.stateOf.v && this.model.waived[cell][column] >= counts[state];
    const told = state === NONE ? 'not tested' : fieldText(this.view, cell, column) + (waived ? '; all violations waived' : '');
    return make('td', {
      role: 'gridcell', id: fieldId(index, place), 'data-row': index, 'data-column': place, 'aria-colindex': place + 1,
      class: `field ${state === NONE ? 'none' : `state-${this.model.states[state][0]}`}${waived ? ' waived' : ''} ${this.edge(place - 1) || ''}`,
      title: `${pair}, ${group}: ${told}`, 'aria-label': `${pair}, ${group}: ${told}`,
    }, state === NONE ? '·' : [this.model.states[state][2], make('i', {}, short(counts[state])), make('b', {}, this.view.letters(cell, column, state))]);
  }

  /** Makes one wide field with the reason why a cell has no results. */
  untested(index, cell) {
    const told = `not tested: ${cell.lifecycle === 'done' ? 'no results' : cell.lifecycle}`;
    return make('td', {
      role: 'gridcell', id: fieldId(index, 1), 'data-row': index, 'data-column': 1, 'aria-colindex': '2', class: 'untested edge',
      'aria-colspan': Math.max(this.view.columns.length, 1), colspan: Math.max(this.view.columns.length, 1), title: cell.reason,
    }, make('span', {}, make('b', {}, told), cell.reason ? `: ${cell.reason}` : ''));
  }

  // -- keyboard navigation

  /** Returns the number of fields of a row without its name. */
  fields(row) {
    return this.view.isTested(this.view.cells[row]) ? this.view.columns.length : 1;
  }

  key(event) {
    const page = Math.max(Math.floor(this.element.clientHeight / ROW) - 3, 1);
    const {row, column} = this.active, last = this.view.cells.length - 1;
    const moves = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      PageUp: [row - page, column], PageDown: [row + page, column],
      Home: [event.ctrlKey ? 0 : row, 0], End: [event.ctrlKey ? last : row, Infinity],
    };
    if (moves[event.key] && !event.altKey && !event.metaKey) this.moveTo(...moves[event.key]);
    else if (event.key === 'Enter' || event.key === ' ') this.choose();
    else return;
    event.preventDefault();
  }

  moveTo(row, column) {
    if (!this.view.cells.length) return;
    const line = Math.min(Math.max(row, 0), this.view.cells.length - 1);
    this.active = {row: line, column: Math.min(Math.max(column, 0), this.fields(line))};
    this.scrollToActive();
    this.draw();
  }

  scrollToActive() {
    const {element, active} = this, head = this.head.offsetHeight;
    const top = active.row * ROW;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + ROW > element.scrollTop + element.clientHeight - head) element.scrollTop = top + ROW - element.clientHeight + head;
    this.draw();
    const field = byId(fieldId(active.row, active.column));
    if (!field || active.column === 0 || field.colSpan > 1) return;
    const name = field.parentNode.firstChild.offsetWidth, left = field.offsetLeft - name, right = field.offsetLeft + field.offsetWidth;
    if (left < element.scrollLeft) element.scrollLeft = left;
    else if (right > element.scrollLeft + element.clientWidth) element.scrollLeft = right - element.clientWidth;
  }

  /** Marks the active field, visibly and for screen readers. */
  mark() {
    for (const field of this.body.querySelectorAll('.active')) field.classList.remove('active');
    const {row, column} = this.active;
    const field = byId(fieldId(row, column));
    if (field) {
      field.classList.add('active');
      this.element.setAttribute('aria-activedescendant', field.id);
    } else this.element.removeAttribute('aria-activedescendant');
  }

  click(event) {
    const field = event.target.closest('[data-row]');
    if (!field) return;
    this.active = {row: Number(field.dataset.row), column: Number(field.dataset.column)};
    this.mark();
    this.choose();
  }

  choose() {
    const cell = this.view.cells[this.active.row];
    if (cell === undefined) return;
    const whole = this.active.column === 0 || !this.view.isTested(cell);
    this.open(cell, whole ? NONE : this.view.columns[this.active.column - 1]);
  }
}

const fieldId = (row, column) => `field-${row}-${column}`;

/** Returns the axes on which cells differ, at most eight. */
function differingAxes(cells) {
  const names = [...new Set(cells.flatMap((cell) => Object.keys(cell.axes)))];
  return names.filter((name) => new Set(cells.map((cell) => cell.axes[name])).size > 1).slice(0, 8);
}

/** Formats a number with at most four characters. */
function short(count) {
  return count < 1000 ? String(count) : `${(count / 1000).toFixed(count < 10000 ? 1 : 0)}k`;
}

/** Formats counts as "3 violates, 2 deviates", worst first. */
function toldCounts(model, counts) {
  return model.states.map(([, word], state) => counts[state] ? `${counts[state].toLocaleString('en')} ${word}` : '').filter(Boolean).join(', ');
}

/** Formats the counts of one field, with the accused libraries. */
function fieldText(view, cell, column) {
  const {model, width} = view, counts = view.field(cell, column);
  return model.states.map(([, word], state) => {
    if (!counts[state]) return '';
    const found = view.accused(cell).get(column * width + state), names = found ? [...found.names] : [];
    const accused = found ? ` (accused: ${names.join(', ') || 'not known'})` : '';
    return `${counts[state].toLocaleString('en')} ${word}${accused}`;
  }).filter(Boolean).join(', ');
}

/** Formats the versions of a cell on one line: the planned ones, or else those found. */
function versionsOf(cell) {
  const told = Object.keys(cell.axes).length ? cell.axes : cell.versions;
  return Object.entries(told).map(([name, version]) => `${name} ${version}`).join('  ');
}

/** Makes a table of producers by consumers for each protocol and device, with links to the details of the fields. */
function pairGrids(model, view, cell, link) {
  const groups = new Map();
  for (const column of view.columns) {
    const {group} = model.columns[column];
    if (worst(model, view.field(cell, column)) === NONE) continue;
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(column);
  }
  return make('div', {class: 'grids'}, [...groups].map(([group, columns]) => pairGrid(model, view, cell, group, columns, link)));
}

function pairGrid(model, view, cell, group, columns, link) {
  const at = new Map(columns.map((column) => [model.columns[column].pair, column])), pairs = columns.filter((column) => !model.columns[column].isChains);
  const names = (side) => [...new Set(pairs.map((column) => model.columns[column][side]))].sort((a, b) => (b === 'reference') - (a === 'reference') || (a < b ? -1 : 1));
  const consumers = names('consumer');
  return make('section', {}, make('h3', {}, group, make('small', {}, '  producer ↓  consumer →')), make('table', {},
    make('thead', {}, make('tr', {}, make('td'), consumers.map((name) => make('th', {scope: 'col'}, make('span', {}, name))))),
    make('tbody', {}, names('producer').map((producer) => make('tr', {}, make('th', {scope: 'row'}, producer),
      consumers.map((consumer) => make('td', {}, pairField(model, view, cell, at.get(`${producer} → ${consumer}`), link))))),
    at.has(CHAINS) ? make('tr', {}, make('th', {scope: 'row'}, CHAINS), make('td', {colspan: Math.max(consumers.length, 1)}, pairField(model, view, cell, at.get(CHAINS), link))) : null)));
}

function pairField(model, view, cell, column, link) {
  if (column === undefined) return null;
  const counts = view.field(cell, column), state = worst(model, counts), [letter, , symbol] = model.states[state];
  const told = `${model.columns[column].pair}: ${fieldText(view, cell, column)}`;
  return make('a', {href: link({open: `${model.cells[cell].name}~${model.columns[column].key}`}), class: `state-${letter}`, title: told, 'aria-label': told},
    symbol, make('small', {}, short(counts[state]), make('b', {}, view.letters(cell, column, state))));
}
