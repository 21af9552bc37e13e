// The detail panel: a finding, a cell, or the cases of a field of the matrix.

const OPENED = 2;
const MOST = 12;

/** Makes the symbol of a verdict with its word. */
function sign(model, state, text = model.states[state][1]) {
  return make('span', {class: `sign state-${model.states[state][0]}`}, make('span', {'aria-hidden': 'true'}, model.states[state][2]), ' ', text);
}

/** Makes a list of terms and values; entries without a value are omitted. */
function terms(entries) {
  const told = entries.filter(([, value]) => value !== null && value !== undefined && value !== '' && !(Array.isArray(value) && !value.length));
  return make('dl', {}, told.map(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]));
}

/** Makes the texts of clauses, with the roles that they bind. */
function clauseList(model, ids) {
  return ids.map((id) => {
    const told = model.clauses[id];
    return told ? clauseTold(id, told[0], told[1], told[2], told[3]) : clauseTold(id, '', '', '');
  });
}

/** Makes one clause. Its address is only a link; the page never loads it. */
function clauseTold(id, text, source, address, binds = '') {
  return make('p', {class: 'clause'}, make('b', {}, id), ' ', prose(text), ' ', make('small', {}, binds ? `(${binds}) ` : '',
    address ? make('a', {href: address, rel: 'noreferrer', target: '_blank'}, source) : source));
}

/** The reason without digits, so that messages that differ only in addresses and counts are grouped. */
const core = (reason) => reason.replace(/0x[0-9a-f]+|\d+/gi, '').slice(0, 80);

/**
 * Groups similar cases into kinds: those of one finding, or those of one rule with the same reason. `found` yields
 * `{cell, one, state, value}`. Sorts by the worst verdict, then by the number of cells and cases.
 */
function kindsOf(model, found) {
  const kinds = new Map();
  for (const member of found) {
    const shown = findingsAt(model, member.cell, member.one);
    for (const finding of shown.length ? shown : [NONE]) addTo(kinds, model, member, finding);
  }
  return [...kinds.values()].sort((a, b) => a.state - b.state || b.cells.size - a.cells.size || b.members.length - a.members.length);
}

function addTo(kinds, model, member, finding) {
  const {cell, one, state, value} = member, {invariant} = model.cases[one];
  const evidence = value === NONE ? null : model.evidence[model.values[value].evidence];
  const words = evidence ? `${evidence.outcome} ${core(evidence.reason)}` : '';
  const key = finding === NONE ? [state, invariant, words].join('\n') : `${state} ${finding}`;
  if (!kinds.has(key)) kinds.set(key, {invariant, state, evidence, finding, members: [], cells: new Map()});
  const kind = kinds.get(key);
  kind.members.push(member);
  kind.cells.set(cell, (kind.cells.get(cell) || 0) + 1);
}

/** Makes a collapsible box of a kind. `place` names its libraries and cells. */
function kindBox(model, kind, place, isOpen, link) {
  const told = make('div', {class: 'told'}), finding = model.findings[kind.finding];
  const box = make('details', {class: `kind state-${model.states[kind.state][0]}`, ontoggle: () => {
    if (box.open && !told.firstChild) fill(told, kindBody(model, kind, link));
  }}, make('summary', {},
    sign(model, kind.state), ' ', make('b', {}, finding ? isolated(finding.sentence) : kind.invariant), make('span', {class: 'count'}, many(kind.members.length, 'case')),
    finding ? make('span', {class: 'sentence'}, finding.told) : make('span', {class: 'sentence'}, kind.evidence ? kind.evidence.reason || kind.evidence.outcome : 'it conforms now'),
    place ? make('span', {class: 'place'}, place) : null), told);
  box.open = isOpen;
  if (isOpen) fill(told, kindBody(model, kind, link));
  return box;
}

function kindBody(model, kind, link) {
  const {evidence} = kind, finding = model.findings[kind.finding];
  const rules = [...new Set(kind.members.map(({one}) => model.cases[one].invariant))];
  return [
    finding ? make('p', {}, make('a', {href: link({place: 'finding', argument: finding.id, open: ''})}, 'Details of this finding')) : null,
    terms([
      ['Demanded', finding ? demandsTold(finding) : null],
      [rules.length === 1 ? 'Rule' : 'Rules', rules.slice(0, MOST).map((name) => ruleTold(model, name, link))],
      ['Level', evidence && evidence.level && kind.state <= model.stateOf.d ? levelText(evidence) : null],
    ]),
    longList('div', seenAlike(model, kind), MOST, (seen) => seenBox(model, seen)),
  ];
}

function ruleTold(model, name, link) {
  return make('p', {}, make('a', {href: link({place: 'invariant', argument: name, open: ''})}, name), ' ', prose(model.invariants[name][0]));
}

function levelText({level, outcome}) {
  if (level === 'robustness') return 'none: the suite made input that the protocol forbids';
  const ends = {crash: 'the process crashed', hang: 'the process hung', poisoned: 'the CUDA context was corrupted (sticky error)'};
  if (ends[outcome]) return `must: ${ends[outcome]}, which is a violation at any level`;
  return {must: 'must', should: 'should, or inferred', observed: 'informational'}[level] || level;
}

/** Groups the members of a kind by evidence, history and gate remarks. */
function seenAlike(model, kind) {
  const found = new Map();
  for (const member of kind.members) {
    const mark = numberAt(model.markRows[member.cell], member.one), streak = numberAt(model.streakRows[member.cell], member.one);
    const key = `${member.value}/${mark}/${streak}`;
    if (!found.has(key)) found.set(key, {value: member.value, mark, streak, members: []});
    found.get(key).members.push(member);
  }
  return [...found.values()].sort((a, b) => b.members.length - a.members.length);
}

function seenBox(model, {value, mark, streak, members}) {
  const evidence = value === NONE ? null : model.evidence[model.values[value].evidence];
  const first = model.cases[members[0].one];
  return make('section', {class: 'seen'},
    terms([
      ['Accused', evidence && evidence.side && value !== NONE && AGAINST.includes(model.states[model.values[value].state][0]) ? accusedText(model, evidence) : null],
      ['Reason', evidence && evidence.reason ? quoted(evidence.reason) : null],
      ['Expected', evidence && evidence.expected ? quoted(evidence.expected) : null],
      ['Seen', evidence && evidence.seen ? quoted(evidence.seen) : null],
      ...(evidence ? notesOf(model, evidence.notes).filter(([, text]) => text !== evidence.seen).map((note) => noteTerm(model, note)) : []),
      ['Fails since', streak === NONE ? null : streakText(model.streaks[streak])],
      ['Compared with the baseline', mark === NONE ? null : markText(model, model.marks[mark])],
      ['Waiver', mark === NONE || !model.marks[mark][2] ? null : waiverText(model, model.marks[mark][2])],
      [members.length === 1 ? 'Case' : 'Cases', caseList(model, members)],
    ]),
    script(model, first.id));
}

/** Makes the accused libraries of a case, their side, and how this was determined. */
function accusedText(model, {side, accused, why}) {
  const names = accused.map((name) => model.titleOf[name] || name).join(', ');
  return [names ? `${names}, the ${side === 'both' ? 'libraries on both sides' : side === 'between' ? 'library between' : side}` : 'not known', why ? [make('small', {}, ' because: '), quoted(why)] : ''];
}

/** Makes an isolated text node of a message from outside; it is never markup. */
const quoted = (text) => make('bdi', {class: 'quoted'}, text);
/** Makes a sentence of the suite with code in backquotes; parts of it may come from outside. */
const isolated = (text) => make('bdi', {}, prose(text));

/** Makes the attachments, those with a label first. */
function notesOf(model, notes) {
  const order = Object.keys(model.notes), place = ([name]) => order.includes(name) ? order.indexOf(name) : order.length;
  return notes.filter(([, text]) => text).sort((a, b) => place(a) - place(b));
}

function noteTerm(model, [name, text]) {
  return [model.notes[name] || name, text.length > 300 || text.includes('\n') ? make('pre', {tabindex: '0', 'aria-label': name}, text) : quoted(text)];
}

function streakText([began, run, runs, flaps]) {
  const changed = flaps ? `; it changed ${many(flaps, 'time')} between failing and not` : '';
  return `${readable(began)} (run ${run}), ${many(runs, 'run')} in a row${changed}`;
}

function markText(model, [kind, before]) {
  const state = model.stateOf[before];
  return state === undefined ? kind : [kind, ', before: ', sign(model, state)];
}

function waiverText(model, ids) {
  return ids.split(', ').flatMap((id, n) => [n ? '; ' : '', make('b', {}, id), model.waivers[id] ? ` ${model.waivers[id]}` : '']);
}

/** Makes a list of cases without duplicates, with their cells. */
function caseList(model, members) {
  const cells = new Map();
  for (const {cell, one} of members) {
    if (!cells.has(one)) cells.set(one, []);
    cells.get(one).push(model.cells[cell].title);
  }
  const several = new Set(members.map(({cell}) => cell)).size > 1;
  return longList('ul', [...cells], 5, ([one, titles]) =>
    make('li', {}, make('code', {}, model.cases[one].id), several ? make('small', {}, ` in ${listed(titles)}`) : null));
}

/** Makes the reproduction: a standalone script if there is one, or else the command. */
function script(model, id, isOpen = false) {
  const number = model.scripts.cases[id];
  if (number === undefined) return copied(`python -m conformance repro ${id}`, `The command that reproduces ${id}`);
  const text = () => model.scripts.scripts[number].map((line) => model.scripts.lines[line]).join('\n') + '\n';
  const box = make('details', {class: 'script', ontoggle: () => {
    if (box.open && box.children.length === 1) box.append(copied(text(), `A script that reproduces ${id}`));
  }}, make('summary', {}, 'Standalone script that reproduces it without this suite'));
  box.open = isOpen;
  return box;
}

// -- the panel itself

class Detail {
  /** `link(changes)` returns an address; Escape and the button call `close()`. */
  constructor(element, model, link, close) {
    Object.assign(this, {element, model, link, close});
    element.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') close();
    });
  }

  hide() {
    this.element.hidden = true;
    this.element.replaceChildren();
    document.body.classList.remove('with-detail');
  }

  /** Shows a finding, a field or a cell, and moves the focus there if `focus` is set. */
  show(view, {finding, id, cell, column}, focus) {
    const [title, ...content] = finding !== undefined ? findingDetail(this.model, view, finding, id, this.link) : column === NONE ? this.ofCell(view, cell) : this.ofField(view, cell, column);
    const button = make('button', {type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => this.close()}, '×');
    fill(this.element, make('div', {class: 'bar'}, title, button), content);
    this.element.hidden = false;
    this.element.scrollTop = 0;
    document.body.classList.add('with-detail');
    if (focus) byId('detail-title').focus();
  }

  ofField(view, cell, column) {
    const {model} = this, {pair, group} = model.columns[column], counts = view.field(cell, column);
    const found = [...view.telling(cell)].filter(({one}) => model.cases[one].column === column);
    return [
      make('h2', {id: 'detail-title', tabindex: '-1'}, pair),
      make('p', {class: 'where'}, group, ' in ', make('a', {href: this.link({open: model.cells[cell].name})}, model.cells[cell].title)),
      this.sum(counts, isFiltered(view.address)),
      this.kinds(kindsOf(model, found)),
      worst(model, counts) === NONE ? this.notTested(cell, column) : null,
    ];
  }

  sum(counts, filtered) {
    const {model} = this, states = model.states.map((_, state) => state).filter((state) => counts[state]);
    return make('p', {class: 'signs'}, states.map((state) => [sign(model, state, `${counts[state].toLocaleString('en')} ${model.states[state][1]}`), ' ']),
      filtered && states.length ? make('small', {}, 'matching the filters') : null);
  }

  kinds(kinds) {
    const {model} = this;
    return longList('div', kinds, 40, (kind) => kindBox(model, kind, '', kinds.indexOf(kind) < OPENED && kind.state <= model.stateOf.l, this.link));
  }

  notTested(cell, column) {
    const {absent} = this.model.cells[cell], {producer, consumer} = this.model.columns[column];
    const reasons = [...new Set([producer, consumer])].filter((name) => absent[name]).map((name) => [name, quoted(absent[name])]);
    const filtered = isFiltered(readAddress());
    return [
      make('p', {}, filtered ? 'No case matches the filters.' : 'Not tested: this cell has no case of this pair.'),
      terms(reasons),
    ];
  }

  ofCell(view, cell) {
    const {model} = this, told = model.cells[cell], counts = new Int32Array(model.states.length);
    for (let i = 0; i < view.counts[cell].length; i++) counts[i % view.width] += view.counts[cell][i];
    const [passed, failed, errors, skipped, ended] = told.tests || [];
    return [
      make('h2', {id: 'detail-title', tabindex: '-1'}, told.title),
      told.title === told.name ? null : make('p', {class: 'where'}, told.name),
      this.sum(counts, isFiltered(view.address)),
      terms([
        ['Lifecycle', isTroubled(told) ? make('b', {class: 'loud'}, `not tested, or incomplete: ${told.lifecycle}`) : told.lifecycle],
        ['Why', told.reason && quoted(told.reason)],
        ['Planned with', pairs(told.axes)],
        ['Versions found', pairs(told.versions)],
        ['Unusable libraries', pairs(told.absent)],
        ['Candidates', told.candidates.map((one) => make('p', {}, quoted(one)))],
        ["Package's own tests", told.tests ? `${passed} passed, ${failed} failed, ${errors} errors, ${skipped} skipped: ${ended}` : null],
        ['Ended', told.ended],
        ['Took', told.seconds ? `${told.seconds.toLocaleString('en')} s` : null],
        ['Digests', pairs(told.digests)],
      ]),
      pairGrids(model, view, cell, this.link),
      make('h3', {}, 'Cases that do not conform'),
      this.kinds(kindsOf(model, view.telling(cell))),
    ];
  }
}

/** Makes a line for each name and value. */
function pairs(told) {
  return Object.entries(told).map(([name, text]) => make('p', {class: 'pair'}, make('b', {}, name), ' ', quoted(text)));
}
