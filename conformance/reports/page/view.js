// The address holds the view and its filters; this module computes the counts from them.

const PLACES = ['findings', 'finding', 'matrix', 'calls', 'cases', 'invariants', 'invariant'];
const FILTERS = ['accused', 'status', 'library', 'exchange', 'family', 'verdict', 'text', 'changed'];
const UNTESTED = 'not tested';

/** Parses the fragment of the address, `#/place/argument?filter=value`. */
function readAddress() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [place, ...rest] = path.split('/').map(decoded);
  const given = new URLSearchParams(query);
  const address = {place: PLACES.includes(place) ? place : PLACES[0], argument: rest.join('/'), open: given.get('open') || ''};
  for (const name of [...FILTERS, 'order']) address[name] = given.get(name) || '';
  return address;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The reverse of readAddress. */
function written(address) {
  const given = new URLSearchParams();
  for (const name of [...FILTERS, 'order', 'open']) if (address[name]) given.set(name, address[name]);
  const query = given.toString();
  const argument = address.argument ? `/${address.argument.split('/').map(encodeURIComponent).join('/')}` : '';
  return `#/${address.place}${argument}${query ? `?${query}` : ''}`;
}

const isFiltered = (address) => FILTERS.some((name) => address[name]);

/**
 * The counts of each cell, exchange and state under the filters of an address.
 *
 * The text filter searches the cell, the case with its statement, the evidence and the finding; each word must occur in one of them.
 * `counts[cell]` holds, for each column, the number of cases in each state; a cell that is filtered out has none.
 */
class View {
  constructor(model, address) {
    this.model = model;
    this.address = address;
    this.words = address.text.toLowerCase().split(/\s+/).filter(Boolean).slice(0, 8);
    this.all = (1 << this.words.length) - 1;
    this.wanted = model.states.findIndex(([, word]) => word === address.verdict);
    this.onlyUntested = address.verdict === UNTESTED;
    this.changed = model.gate && address.changed ? new Set(model.gate.changed) : null;
    this.asksFinding = Boolean(address.accused || address.status);
    this.findingPasses = model.findings.map((one) => (!address.accused || one.library === address.accused) && (!address.status || one.status === address.status));
    this.findingWords = model.findings.map((one) => this.found(findingText(one)));
    this.cellWords = model.cells.map((cell) => this.found(cellText(cell)));
    this.caseWords = this.ofCases();
    this.valueWords = this.ofValues();
    this.planned = new Map();
    this.width = model.states.length;
    this.counts = model.cells.map((_, cell) => this.count(cell));
    this.cells = model.cells.map((_, cell) => cell).filter((cell) => this.isCellShown(cell));
    if (address.order === 'worst') this.sortByBadness();
    this.columns = this.shownColumns();
  }

  /** Returns the search words that a text contains, as bits. */
  found(text) {
    let bits = 0;
    if (this.words.length) {
      const lower = text.toLowerCase();
      this.words.forEach((word, index) => { if (lower.includes(word)) bits |= 1 << index; });
    }
    return bits;
  }

  /** Returns, for each case, the search words that it contains, or NONE if another filter excludes it. */
  ofCases() {
    const {library, family, exchange} = this.address;
    const statements = new Map();
    return Int16Array.from(this.model.cases, (one) => {
      const column = this.model.columns[one.column];
      if (library && !one.libraries.includes(library)) return NONE;
      if (family && one.family !== family) return NONE;
      if (exchange && column.group !== exchange) return NONE;
      if (!this.words.length) return 0;
      if (!statements.has(one.invariant)) statements.set(one.invariant, this.found(this.model.invariants[one.invariant][0]));
      return this.found(`${one.id} ${one.libraries.join(' → ')} ${column.pair} ${column.group}`) | statements.get(one.invariant);
    });
  }

  ofValues() {
    const known = new Map();
    return Int16Array.from(this.model.values, ({evidence}) => {
      if (!known.has(evidence)) known.set(evidence, this.found(evidenceText(this.model.evidence[evidence])));
      return known.get(evidence);
    });
  }

  count(cell) {
    const {model, width} = this;
    const counts = new Int32Array(model.columns.length * width);
    if (this.onlyUntested) return counts;
    if (this.changed) {
      for (const {one, state} of this.changedCases(cell)) counts[model.cases[one].column * width + state]++;
      return counts;
    }
    const conforms = model.stateOf.c, wantsConforming = !this.asksFinding && (this.wanted < 0 || this.wanted === conforms);
    const {planned, rest} = this.plannedIn(model.cells[cell].plan, this.cellWords[cell]);
    if (wantsConforming) for (let c = 0; c < planned.length; c++) counts[c * width + conforms] = planned[c];
    const {positions, numbers} = model.rows[cell];
    for (let i = 0; i < positions.length; i++) {
      const one = positions[i], column = model.cases[one].column, state = model.values[numbers[i]].state;
      if (rest[one] && wantsConforming) counts[column * width + conforms]--;
      if (this.passes(cell, one, numbers[i])) counts[column * width + state]++;
    }
    return counts;
  }

  /** Returns the cases of a cell that differ from the baseline, with their states now. */
  *changedCases(cell) {
    const {model} = this;
    const {positions, numbers} = model.markRows[cell];
    for (let i = 0; i < positions.length; i++) {
      if (!this.changed.has(model.marks[numbers[i]][0])) continue;
      const value = numberAt(model.rows[cell], positions[i]);
      const isPlanned = value !== NONE || this.isPlanned(model.cells[cell].plan, positions[i]);
      const state = value !== NONE ? model.values[value].state : isPlanned ? model.stateOf.c : model.stateOf.g;
      if (this.passes(cell, positions[i], value, state)) yield {cell, one: positions[i], state, value};
    }
  }

  isPlanned(plan, one) {
    this.sets = this.sets || new Map();
    if (!this.sets.has(plan)) this.sets.set(plan, new Set(this.model.plans[plan]));
    return this.sets.get(plan).has(one);
  }

  /** Returns whether a case of a cell matches all filters; `value` is NONE for one that conforms. */
  passes(cell, one, value, state = this.model.values[value].state) {
    if (this.caseWords[one] === NONE || (this.wanted >= 0 && state !== this.wanted)) return false;
    if (!this.asksFinding && !this.words.length) return true;
    const shown = findingsAt(this.model, cell, one).filter((number) => this.findingPasses[number]);
    if (this.asksFinding && !shown.length) return false;
    const seen = shown.reduce((bits, number) => bits | this.findingWords[number], value === NONE ? 0 : this.valueWords[value]);
    return (this.cellWords[cell] | this.caseWords[one] | seen) === this.all;
  }

  /** Returns the cases of a plan that match all filters except those on results, and their number by column. */
  plannedIn(plan, words) {
    const key = `${plan}/${words}`;
    if (!this.planned.has(key)) {
      const planned = new Int32Array(this.model.columns.length), rest = new Uint8Array(this.model.cases.length);
      for (const one of this.model.plans[plan]) {
        if (this.caseWords[one] === NONE || (words | this.caseWords[one]) !== this.all) continue;
        rest[one] = 1;
        planned[this.model.cases[one].column]++;
      }
      this.planned.set(key, {planned, rest});
    }
    return this.planned.get(key);
  }

  isTested(cell) {
    return this.model.cells[cell].tested;
  }

  /** Keeps cells without results, so that no filter hides them, unless it selects a property that they cannot have. */
  isCellShown(cell) {
    if (this.counts[cell].some(Boolean)) return true;
    if (this.onlyUntested) return isTroubled(this.model.cells[cell]) || Object.keys(this.model.cells[cell].absent).length > 0;
    const asks = this.wanted >= 0 || this.changed || this.asksFinding;
    return !this.isTested(cell) && !asks && this.cellWords[cell] === this.all;
  }

  /** Sorts cells without results first, then by the number of violations, deviations, … */
  sortByBadness() {
    const sums = new Map(this.cells.map((cell) => {
      const sum = new Float64Array(this.width);
      this.counts[cell].forEach((count, i) => { sum[i % this.width] += count; });
      return [cell, sum];
    }));
    const untested = (cell) => this.isTested(cell) ? 0 : 1;
    this.cells.sort((a, b) => untested(b) - untested(a) || compared(sums.get(b), sums.get(a)) || a - b);
  }

  /** Returns the columns with cases in any cell; if there are none, all that match the filters. */
  shownColumns() {
    const some = new Uint8Array(this.model.columns.length);
    for (const cell of this.cells) {
      const counts = this.counts[cell];
      for (let c = 0; c < some.length; c++) {
        for (let s = 0; !some[c] && s < this.width; s++) if (counts[c * this.width + s]) some[c] = 1;
      }
    }
    const any = some.some(Boolean);
    return this.model.columns.map((_, index) => index).filter((index) => some[index] || (!any && !isFiltered(this.address)));
  }

  /** Returns the counts of one field by state. */
  field(cell, column) {
    return this.counts[cell].subarray(column * this.width, (column + 1) * this.width);
  }

  /** Returns the accused of each field of a cell: side letters and library names by column and state. */
  accused(cell) {
    this.accusations = this.accusations || new Map();
    if (!this.accusations.has(cell)) this.accusations.set(cell, this.accusedIn(cell));
    return this.accusations.get(cell);
  }

  accusedIn(cell) {
    const found = new Map(), {model} = this;
    for (const {one, state, value} of this.telling(cell)) {
      if (value === NONE || !AGAINST.includes(model.states[state][0])) continue;
      const {side, accused} = model.evidence[model.values[value].evidence], key = model.cases[one].column * this.width + state;
      if (!found.has(key)) found.set(key, {letters: new Set(), names: new Set()});
      if (model.sides[side]) found.get(key).letters.add(model.sides[side]);
      for (const name of accused) found.get(key).names.add(name);
    }
    return found;
  }

  /** Returns the letters of the accused sides of a field's cases of one state. */
  letters(cell, column, state) {
    const found = this.accused(cell).get(column * this.width + state);
    return found ? [...found.letters].sort().join('') : '';
  }

  /** Returns the findings that match the filters, each with its matching cases: `{cell, one, state, value}`. */
  byFinding() {
    if (!this.members) {
      this.members = new Map();
      for (const cell of this.cells) for (const told of this.telling(cell)) for (const number of findingsAt(this.model, cell, told.one)) this.addMember(number, told);
    }
    return this.members;
  }

  addMember(number, told) {
    if (!this.findingPasses[number] || (this.wanted >= 0 && this.model.findings[number].state !== this.wanted)) return;
    if (!this.members.has(number)) this.members.set(number, []);
    this.members.get(number).push(told);
  }

  /**
   * Yields the cases of a cell that match the filters and did not conform: `{cell, one, state, value}`. With the filter for changes, also
   * cases that conform now (`value` is NONE).
   */
  *telling(cell) {
    if (this.onlyUntested) return;
    if (this.changed) {
      yield* this.changedCases(cell);
      return;
    }
    const {positions, numbers} = this.model.rows[cell];
    for (let i = 0; i < positions.length; i++) {
      const value = numbers[i];
      if (this.passes(cell, positions[i], value)) yield {cell, one: positions[i], state: this.model.values[value].state, value};
    }
  }
}

/** Compares two rows of numbers lexicographically. */
function compared(a, b) {
  const at = a.findIndex((number, index) => number !== b[index]);
  return at < 0 ? 0 : a[at] - b[at];
}

/** Returns whether a cell is unfinished or without results. */
const isTroubled = (cell) => cell.lifecycle !== 'done' || !cell.tested;

function cellText(cell) {
  const versions = Object.entries({...cell.axes, ...cell.versions}).map(([name, version]) => `${name} ${version} ${name}${version}`);
  return [cell.name, cell.title, cell.lifecycle, cell.reason, ...versions].join(' ');
}

function evidenceText(evidence) {
  return [evidence.outcome, evidence.reason, evidence.expected, evidence.seen, evidence.clause, ...evidence.accused, ...evidence.notes.flat()].join(' ');
}

function findingText(finding) {
  return [finding.id, finding.sentence, finding.told, finding.ended, finding.since].join(' ');
}

/** Returns the worst state of a field, or NONE if the cell has no case of the pair. */
function worst(model, counts) {
  const {v, b, d, u, l, g, c, r, o} = model.stateOf;
  const state = [v, b, d, u, l, g, c, r, o].find((one) => counts[one]);
  return state === undefined ? NONE : state;
}

/** Counts the waived violations of each cell and column. */
function waivedViolations(model) {
  const covers = model.marks.map(([, , waiver]) => Boolean(waiver));
  return model.cells.map((_, cell) => {
    const counts = new Int32Array(model.columns.length);
    const {positions, numbers} = model.markRows[cell];
    for (let i = 0; i < positions.length; i++) {
      if (!covers[numbers[i]]) continue;
      const value = numberAt(model.rows[cell], positions[i]);
      if (value !== NONE && model.values[value].state === model.stateOf.v) counts[model.cases[positions[i]].column]++;
    }
    return counts;
  });
}
