// The summary at the top, the filters, and the views other than findings and matrix.

/** Makes the summary: findings, the gate, and, as prominently, everything that was not tested. */
function answer(model, link) {
  const tested = model.cells.filter((cell) => cell.tested).length, {run, counts, gate} = model;
  const planned = Object.values(counts).reduce((sum, count) => sum + count, 0);
  return [
    make('p', {class: 'over'}, 'Array interop conformance'),
    make('h1', {}, model.headline),
    make('p', {class: 'about'}, [
      `Run ${run.id || '(unnamed)'}`, run.began && `begun ${readable(run.began)}`, run.suite && `suite ${run.suite}`, run.tier && `tier ${run.tier}`,
      `${tested.toLocaleString('en')} of ${many(model.cells.length, 'cell')} with results`,
    ].filter(Boolean).join(' · ')),
    gate ? gateBox(gate) : null,
    make('ul', {class: 'tiles', 'aria-label': 'Findings by status'}, tiles(model, link)),
    untestedBox(model, counts, link),
    make('p', {class: 'signs cases'}, make('span', {}, `${many(planned, 'case')}:`), model.states.filter(([letter]) => counts[letter]).map((state) => caseCount(model, state, counts, link))),
  ];
}

const readable = (time) => time.replace('T', ' ').replace(/(\.\d+)?(\+00:00|Z)$/, ' UTC');

/** Makes tiles of findings by status: violations, then robustness findings and deviations. */
function tiles(model, link) {
  const {v, b, d} = model.stateOf, count = (state, status) => model.findings.filter((one) => one.state === state && (!status || one.status === status)).length;
  const statuses = model.statuses.filter((status) => status === 'new' || count(v, status));
  return [
    ...statuses.map((status) => tile(model, v, count(v, status), status, status, link)),
    ...[[b, 'about robustness'], [d, 'deviations']].filter(([state]) => count(state)).map(([state, word]) => tile(model, state, count(state), word, '', link)),
  ];
}

function tile(model, state, count, word, status, link) {
  const [letter, verdict, symbol, meaning] = model.states[state];
  const settled = status.startsWith('fixed') || status === 'intended' ? ' settled' : '';  // nothing to report upstream
  return make('li', {class: count ? `tile state-${letter}${settled}` : 'tile zero'}, make('a', {href: link({place: 'findings', argument: '', verdict, status, open: ''}), title: meaning},
    make('span', {class: 'figure'}, make('span', {'aria-hidden': 'true'}, symbol), ` ${count.toLocaleString('en')}`), make('span', {class: 'word'}, word)));
}

/** Makes the number of cases of a verdict, as a link to the matrix. */
function caseCount(model, [letter, word, , meaning], counts, link) {
  return make('a', {href: link({place: 'matrix', argument: '', verdict: word, open: ''}), title: meaning}, sign(model, model.stateOf[letter], `${counts[letter].toLocaleString('en')} ${word}`));
}

function gateBox(gate) {
  return make('section', {class: `gate ${gate.passes ? 'passes' : 'fails'}`, 'aria-label': 'The gate'},
    make('h2', {}, gate.answer),
    make('p', {}, gate.baseline ? `Compared with ${gate.baseline}. ` : 'Compared with no baseline. ', gate.kinds.length ? '' : 'It has no remarks.'),
    make('ul', {}, gate.kinds.map(([word, meaning, exit, count, waived]) => make('li', {class: exit && count ? 'counts' : null},
      make('b', {}, `${count.toLocaleString('en')} ${word}`), waived ? ` and ${waived.toLocaleString('en')} waived` : '', meaning ? `: ${meaning}` : ''))),
    gate.whole.length ? make('details', {open: gate.whole.length <= 8}, make('summary', {}, `${many(gate.whole.length + gate.more, 'remark')} about more than one case`),
      longList('ul', gate.whole, 20, ([word, sentence, waiver]) => make('li', {}, make('b', {}, word), ': ', quoted(sentence), waiver ? ` (waived: ${waiver})` : '')),
      gate.more ? make('p', {}, `and ${gate.more.toLocaleString('en')} more; the command \`gate\` prints all`) : null) : null);
}

/** Makes the list of everything that has no verdict. */
function untestedBox(model, counts, link) {
  const {cells, libraries} = model.untested;
  if (!cells.length && !libraries.length && !counts.u && !counts.l) {
    return make('p', {class: 'complete'}, '✓ Every planned case was tested and decided.');
  }
  const to = (verdict, text) => make('a', {href: link({place: 'cases', argument: '', verdict, open: ''})}, text);
  return make('section', {class: 'loud-box', 'aria-label': 'Not tested'},
    make('h2', {}, 'Not tested: this run proves nothing about'),
    longList('ul', [
      ...cells.map((reason) => [many(reason[2].length, 'cell'), ...reason]),
      ...libraries.map(([name, why, titles]) => [name, `could not be used in ${many(titles.length, 'cell')}`, why, titles]),
    ], 12, ([what, how, why, titles]) => make('li', {}, make('b', {}, what), ` ${how}`, why ? [': ', quoted(why)] : '', make('small', {}, ` (${listed(titles, 3)})`))),
    counts.l || counts.u ? make('p', {}, counts.l ? [to('lost', many(counts.l, 'case')), ' lost: planned, but without a result. '] : '',
      counts.u ? [to('not decided', many(counts.u, 'case')), ' not decided: they ran, but their checks were inconclusive.'] : '') : null,
    cells.length ? make('p', {}, make('a', {href: link({place: 'matrix', argument: '', verdict: UNTESTED, open: ''})}, 'These cells in the matrix')) : null);
}

// -- filters

function tabs(model, address, link) {
  const names = {findings: 'Findings', matrix: 'Matrix', ...(model.calls.length ? {calls: 'Calls'} : {}), cases: 'Not decided', invariants: 'Rules'};
  return Object.entries(names).map(([place, name]) => make('a', {
    href: link({place, argument: '', open: ''}), 'aria-current': place === tabOf(address) ? 'page' : null,
  }, name));
}

/** Returns the view of a place. */
const tabOf = ({place}) => ({finding: 'findings', invariant: 'invariants'}[place] || place);

/** Filters that only some views show, except when they are set. */
const ONLY_IN = {accused: ['findings', 'matrix'], status: ['findings'], exchange: ['matrix', 'cases', 'invariants'], family: ['matrix', 'cases', 'invariants'], order: ['matrix']};

/** Makes the filter fields, which call `change(name, value, isTyping)` for each edit. */
function filterFields(model, change) {
  const {columns, cases} = model;
  const choice = (name, label, every, values, told = values) => make('label', {}, make('span', {}, label),
    make('select', {name, onchange: (event) => change(name, event.target.value, false)}, make('option', {value: ''}, every), values.map((value, index) => make('option', {value}, told[index]))));
  const unique = (values) => [...new Set(values)];
  return [
    choice('accused', 'Accused library', 'all accused', model.libraries.map(([name]) => name), model.libraries.map(([, title]) => title)),
    choice('status', 'Status', 'all statuses', model.statuses.filter((status) => model.findings.some((one) => one.status === status))),
    choice('library', 'Takes part', 'all libraries', unique(cases.flatMap(({libraries}) => libraries)).sort()),
    choice('exchange', 'Exchange', 'all ways', unique(columns.map(({group}) => group))),
    choice('family', 'Family of rules', 'all families', unique(cases.map(({family}) => family)).sort()),
    choice('verdict', 'Verdict', 'all verdicts', [...model.states.map(([, word]) => word).filter((word) => word !== GONE[1] || model.gate), UNTESTED]),
    make('label', {class: 'wide'}, make('span', {}, 'Search'),
      make('input', {type: 'search', name: 'text', placeholder: 'finding, case, cell, version, message …', autocomplete: 'off', spellcheck: 'false', oninput: (event) => change('text', event.target.value, true)})),
    model.gate && model.gate.baseline ? make('label', {class: 'check'}, make('input', {type: 'checkbox', name: 'changed', onchange: (event) => change('changed', event.target.checked ? '1' : '', false)}),
      make('span', {}, 'only changes')) : null,
    make('label', {}, make('span', {}, 'Order of cells'), make('select', {name: 'order', onchange: (event) => change('order', event.target.value, false)},
      make('option', {value: ''}, 'by name'), make('option', {value: 'worst'}, 'worst first'))),
    make('button', {type: 'button', class: 'fold', 'aria-expanded': 'false', onclick: (event) => unfold(event.target)}, 'Filters'),
    make('button', {type: 'reset', onclick: (event) => { event.preventDefault(); change(null, '', false); }}, 'Clear'),
  ];
}

/** Toggles the filters on a narrow screen, where only the search is always shown. */
function unfold(button) {
  button.setAttribute('aria-expanded', String(button.form.classList.toggle('unfolded')));
}

/** Sets the filter fields from the address. */
function showFilters(form, address) {
  for (const name of [...FILTERS, 'order']) {
    const field = form.elements[name];
    if (!field) continue;
    if (field.type === 'checkbox') field.checked = Boolean(address[name]);
    else if (field !== document.activeElement || field.tagName === 'SELECT') field.value = address[name];
    field.parentNode.hidden = Boolean(ONLY_IN[name]) && !ONLY_IN[name].includes(tabOf(address)) && !address[name];
  }
  form.classList.toggle('filtering', isFiltered(address));
}

/** Formats the number of entries that match the filters. */
function leftText(view, address) {
  if (tabOf(address) === 'findings') return findingsLeft(view);
  const sum = new Int32Array(view.width);
  for (const cell of view.cells) view.counts[cell].forEach((count, i) => { sum[i % view.width] += count; });
  const told = toldCounts(view.model, sum) || 'no case';
  return `${many(view.cells.length, 'cell')}, ${many(view.columns.length, 'exchange')}: ${told}`;
}

function findingsLeft(view) {
  const members = view.byFinding(), all = view.model.findings.length;
  const results = [...members.values()].reduce((sum, found) => sum + found.length, 0);
  return `${members.size === all ? many(all, 'finding') : `${members.size.toLocaleString('en')} of ${many(all, 'finding')}`}, ${many(results, 'result')}`;
}

function legend(model) {
  const entries = model.states.filter(([letter]) => letter !== 'g' || model.gate);
  return make('ul', {class: 'legend', 'aria-label': 'Legend'},
    entries.map(([, word, , meaning], state) => make('li', {title: meaning}, sign(model, model.states.indexOf(entries[state])), make('small', {}, ` ${meaning}`))),
    make('li', {}, make('span', {class: 'sign none'}, '· not tested'), make('small', {}, ' the cell has no case of this pair')),
    make('li', {class: 'how'}, 'A field shows its worst verdict, the number of cases with it, and the accused side: ', make('b', {}, 'p'), ' producer, ', make('b', {}, 'c'), ' consumer, ', make('b', {}, 'b'), ' both; no letter: neither, or unknown. Select a field to see its cases.'));
}

// -- calls

/** Makes the tables of calls of the cells that match the filters: calls down, producers across. */
function callTables(model, view) {
  const left = new Set(view.cells.map((cell) => model.cells[cell].title));
  const found = model.calls.filter(([titles]) => titles.some((title) => left.has(title)));
  if (!found.length) return [make('p', {class: 'nothing'}, 'No cell that matches the filters has a table of calls.')];
  return [
    make('p', {class: 'hint'}, 'Each public call receives an array of another library directly. The tables show the result. Cells with equal results share a table.'),
    make('ul', {class: 'legend', 'aria-label': 'Words of the tables'}, model.callsLegend.map((told) => make('li', {}, make('small', {}, told)))),
    found.map(([titles, device, producers, rows]) => make('section', {class: 'family'}, make('h2', {}, `Arrays on ${device}`), make('p', {}, listed(titles, 5)),
      make('div', {class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': `Calls by producer on ${device}`}, make('table', {class: 'plain calls'},
        make('thead', {}, make('tr', {}, make('th', {}, 'Call'), producers.map((name) => make('th', {scope: 'col'}, name)))),
        make('tbody', {}, rows.map(([call, ...words]) => make('tr', {}, make('th', {scope: 'row'}, make('code', {}, call)), words.map((word) => make('td', {}, word))))))))),
  ];
}

// -- cases without an accused library

function otherCases(model, view, link) {
  const {stateOf} = model, isOpen = (state) => state === stateOf.u || state === stateOf.l;
  const isTold = ({cell, one, state}) => !findingsAt(model, cell, one).length && (view.wanted >= 0 || view.changed || isOpen(state));
  const found = function* () {
    for (const cell of view.cells) for (const told of view.telling(cell)) if (isTold(told)) yield told;
  };
  const kinds = kindsOf(model, found());
  if (!kinds.length) return [make('p', {class: 'nothing'}, isFiltered(view.address) ? 'No case without an accused library matches the filters.' : 'Every planned case is decided.')];
  return [
    make('p', {class: 'hint'}, 'Cases without an accused library, grouped by rule and reason. By default these are the not decided and lost cases; select the verdict refused or observed above to see those.'),
    kindsTold(model, kinds, link),
  ];
}

const kindsTold = (model, kinds, link) => longList('div', kinds, 60, (kind) => kindBox(model, kind, placeText(model, kind), false, link));

/** Formats the libraries of a kind and its number of cells. */
function placeText(model, kind) {
  const groups = new Map();
  for (const one of new Set(kind.members.map((member) => member.one))) {
    const {column, libraries} = model.cases[one], {group} = model.columns[column];
    if (!groups.has(group)) groups.set(group, new Set());
    groups.get(group).add(libraries.join(' → '));
  }
  const where = [...groups].map(([group, found]) => `${listed([...found], 5)} (${group})`).join('; ');
  return `${where}; in ${kind.cells.size === 1 ? model.cells[kind.cells.keys().next().value].title : many(kind.cells.size, 'cell')}`;
}

// -- rules

const UNKNOWN = 'This version of the suite does not know this rule.';

/** Counts the cases of each invariant that match the filters. */
function countsByInvariant(model, view) {
  const counts = new Map(Object.keys(model.invariants).map((id) => [id, new Int32Array(view.width)]));
  const conforms = model.stateOf.c, planned = new Map();
  for (const cell of view.cells) {
    if (!view.changed && !view.onlyUntested && (view.wanted < 0 || view.wanted === conforms)) addPlanned(model, view, cell, planned);
    for (const {one, state} of view.telling(cell)) counts.get(model.cases[one].invariant)[state]++;
  }
  for (const plans of planned.values()) addConforming(model, view, plans, counts);
  return counts;
}

/** Counts a cell's plan as conforming, and subtracts the cases that did not conform. */
function addPlanned(model, view, cell, planned) {
  const key = `${model.cells[cell].plan}/${view.cellWords[cell]}`;
  if (!planned.has(key)) planned.set(key, {cells: 0, plan: model.cells[cell].plan, words: view.cellWords[cell], less: new Map()});
  const entry = planned.get(key);
  entry.cells++;
  for (const one of model.rows[cell].positions) entry.less.set(one, (entry.less.get(one) || 0) + 1);
}

function addConforming(model, view, {cells, plan, words, less}, counts) {
  const {rest} = view.plannedIn(plan, words);
  for (const one of model.plans[plan]) {
    if (rest[one]) counts.get(model.cases[one].invariant)[model.stateOf.c] += cells - (less.get(one) || 0);
  }
}

function rules(model, view, link) {
  const counts = countsByInvariant(model, view), families = new Map();
  for (const [id, found] of counts) {
    if (!found.some(Boolean)) continue;
    const family = id.split('.')[0];
    if (!families.has(family)) families.set(family, []);
    families.get(family).push([id, found]);
  }
  if (!families.size) return [make('p', {class: 'nothing'}, 'Nothing matches the filters.')];
  return [...families].map(([family, members]) => make('section', {class: 'family'}, make('h2', {}, family),
    make('ul', {class: 'rules'}, members.map(([id, found]) => make('li', {},
      make('a', {href: link({place: 'invariant', argument: id, open: ''})}, make('b', {}, id)),
      make('span', {class: 'sentence'}, prose(model.invariants[id][0] || UNKNOWN)),
      signs(model, found))))));
}

const signs = (model, counts) => make('span', {class: 'signs'}, model.states.map((_, state) => counts[state]
  ? [sign(model, state, counts[state].toLocaleString('en')), make('span', {class: 'unseen'}, ` ${model.states[state][1]}, `)] : null));

/** Makes one rule: its statement, its explanation, and its failures. */
function rule(model, view, id, link) {
  const told = model.invariants[id];
  if (!told) return [make('h2', {}, id), make('p', {class: 'nothing'}, 'This run has no such rule.')];
  const [statement, details, level, clauses] = told, found = [];
  for (const cell of view.cells) for (const one of view.telling(cell)) if (model.cases[one.one].invariant === id) found.push(one);
  const kinds = kindsOf(model, found);
  return [
    make('p', {class: 'over'}, make('a', {href: link({place: 'invariants', argument: '', open: ''})}, 'Rules'), ` / ${id.split('.')[0]}`),
    make('h2', {class: 'rule-name'}, id),
    make('p', {class: 'statement'}, prose(statement || UNKNOWN)),
    terms([['Why', details && prose(details)], ['Level', level && `${level}: ${LEVELS[level] || ''}`], ['Clauses', clauseList(model, clauses)]]),
    signs(model, countsByInvariant(model, view).get(id)),
    make('p', {}, make('a', {href: link({place: 'matrix', argument: '', text: id, open: ''})}, 'Show it in the matrix')),
    make('h3', {}, 'Cases that do not conform'),
    kinds.length ? [whereTable(model, found), kindsTold(model, kinds, link)] : make('p', {class: 'nothing'}, 'None in the tested cells that match the filters.'),
  ];
}

const LEVELS = {must: 'breaking it is a violation', should: 'breaking it is a deviation', observed: 'informational: no clause applies'};

/** Makes a table of exchanges by verdicts, with the cells concerned. */
function whereTable(model, found) {
  const columns = new Map();
  for (const {cell, one, state} of found) {
    const column = model.cases[one].column;
    if (!columns.has(column)) columns.set(column, {counts: new Int32Array(model.states.length), cells: new Set()});
    columns.get(column).counts[state]++;
    columns.get(column).cells.add(cell);
  }
  const rows = [...columns].sort(([a], [b]) => a - b);
  const states = model.states.map((_, state) => state).filter((state) => rows.some(([, {counts}]) => counts[state]));
  return make('div', {class: 'scrolls', tabindex: '0', role: 'region', 'aria-label': 'Exchanges by verdict'}, make('table', {class: 'plain'},
    make('thead', {}, make('tr', {}, make('th', {}, 'Exchange'), make('th', {}, 'Over'), states.map((state) => make('th', {}, sign(model, state))), make('th', {}, 'Cells'))),
    make('tbody', {}, rows.map(([column, {counts, cells}]) => make('tr', {}, make('th', {scope: 'row'}, model.columns[column].pair), make('td', {}, model.columns[column].group),
      states.map((state) => make('td', {class: 'figure'}, counts[state] ? counts[state].toLocaleString('en') : '·')),
      make('td', {}, cells.size > 3 ? many(cells.size, 'cell') : [...cells].map((cell) => model.cells[cell].title).join(', ')))))));
}
