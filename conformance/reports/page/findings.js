// Findings: the root causes of all failures. The list, and the details of one.

/** Maximum number of partners in a line of the list; the others are counted. */
const PARTNERS = 5;

/** Makes the list of findings that match the filters, by accused library. Deviations are folded unless the filter selects them. */
function findingsList(model, view, link) {
  const members = view.byFinding();
  const groups = model.libraries.map(([name, title, versions]) => ({title, versions, numbers: [...members.keys()].filter((number) => model.findings[number].library === name).sort((a, b) => a - b)}));
  const shown = groups.filter(({numbers}) => numbers.length);
  if (!shown.length) return [make('p', {class: 'nothing'}, nothingFound(model, view))];
  return [
    make('p', {class: 'hint'}, 'A finding is one root cause in the accused library. Select a finding to see its evidence, its cases and a script. The reference is this suite\'s own exporter and importer.'),
    shown.map((group) => librarySection(model, view, group, members, link)),
  ];
}

function nothingFound(model, view) {
  if (!model.findings.length) return 'The tested cells have no findings.';
  return isFiltered(view.address) ? 'No finding matches the filters.' : 'No finding.';
}

function librarySection(model, view, {title, versions, numbers}, members, link) {
  const isDeviation = (number) => model.findings[number].state === model.stateOf.d;
  const line = (number) => findingLine(model, number, members.get(number), link);
  const first = numbers.filter((number) => !isDeviation(number)), deviations = numbers.filter(isDeviation);
  const isAsked = view.wanted === model.stateOf.d || view.words.length > 0;
  return make('section', {class: 'accused'},
    make('h2', {}, title, ' ', make('small', {}, isolated(versions))),
    first.length ? longList('ul', first, 60, line) : null,
    deviations.length ? make('details', {class: 'deviations', open: isAsked}, make('summary', {}, sign(model, model.stateOf.d, many(deviations.length, 'deviation'))), longList('ul', deviations, 60, line)) : null);
}

function findingLine(model, number, members, link) {
  const finding = model.findings[number], cells = new Set(members.map(({cell}) => cell));
  return make('li', {}, make('a', {class: `finding edge-${model.states[finding.state][0]}`, href: link({place: 'finding', argument: finding.id, open: ''}), 'data-finding': number},
    make('span', {class: 'signs'}, badges(model, finding)),
    make('span', {class: 'said'}, isolated(finding.sentence)),
    make('span', {class: 'extent'}, [extentText(model, finding, members, cells), finding.since].filter(Boolean).join(' · ')),
    make('span', {class: 'quoted id'}, finding.id)));
}

/** Makes badges of verdict, end of the process, status and waivers. */
function badges(model, finding) {
  const isNew = finding.status === 'new', status = isNew ? finding.status : finding.told.replace(/https:\/\/(github\.com\/)?/, '');
  return [
    sign(model, finding.state), finding.ended ? make('span', {class: 'sign ended'}, finding.ended) : null,
    make('span', {class: `sign status${isNew ? ' new' : ''}`}, status), finding.waived ? make('span', {class: 'sign status'}, finding.waived) : null,
  ];
}

/** Marks the list entry of the open finding. */
function markFinding(number) {
  for (const line of document.querySelectorAll('.finding')) {
    if (line.dataset.finding === String(number)) line.setAttribute('aria-current', 'true'); else line.removeAttribute('aria-current');
  }
  const chosen = document.querySelector('.finding[aria-current]'), folded = chosen && chosen.closest('details');
  if (folded) folded.open = true;
}

/** Formats the number of cases and cells, the partners, and the protocols and devices. */
function extentText(model, finding, members, cells) {
  const cases = new Set(members.map(({one}) => one));
  const parts = [`${many(cases.size, 'case')} in ${many(cells.size, 'cell')}`, finding.partners.length ? `with ${listed(finding.partners, PARTNERS)}` : '', finding.places.join(', ')];
  return parts.filter(Boolean).join(' · ');
}

/** Makes the status, with the address of a reference as a link. */
function statusOf(finding) {
  const [before, address] = finding.told.split(/(?=https:\/\/)/);
  return /^https:\/\/[\w./#?=&%+~:-]+$/.test(address || '') ? [before, make('a', {href: address, rel: 'noreferrer', target: '_blank'}, address)] : finding.told;
}

const demandsTold = (finding) => finding.demands.map(([id, text, source, address]) => clauseTold(id, text, source, address));

// -- the detail of one finding

/** Makes the details of one finding, heading first. */
function findingDetail(model, view, number, id, link) {
  const finding = model.findings[number];
  if (!finding) return [make('h2', {id: 'detail-title', tabindex: '-1'}, 'Not in this run'), make('p', {}, 'This run has no finding with the id ', quoted(id), '.')];
  const members = view.byFinding().get(number) || [], [, title, versions] = model.libraries.find(([name]) => name === finding.library);
  const [reason, expected, seen] = finding.said, waivers = waiversOf(model, members);
  return [
    make('h2', {id: 'detail-title', tabindex: '-1', class: 'said'}, isolated(finding.sentence)),
    make('p', {class: 'signs'}, badges(model, finding)),
    terms([
      ['Accused', [title, finding.side && finding.side !== 'not known' ? `, the ${finding.side}` : '', versions ? [' ', make('small', {}, isolated(versions))] : '']],
      ['Because', finding.why && quoted(finding.why)],
      ['Status', [make('p', {}, statusOf(finding)), finding.upstream ? make('p', {}, finding.upstream[1]) : null]],
      ['Versions', finding.since],
      ['Extent', extentText(model, finding, members, new Set(members.map(({cell}) => cell))) + (isFiltered(view.address) ? ', matching the filters' : '')],
      ['Waived', waivers.map((id) => make('p', {}, waiverText(model, id)))],
      ['Required', finding.demands.length ? demandsTold(finding) : NO_DEMAND[model.states[finding.state][0]] || 'no clause is cited'],
    ]),
    make('h3', {}, 'Smallest case'),
    terms([
      ['Case', [make('code', {}, model.cases[finding.smallest].id), model.cells.length > 1 ? make('small', {}, ` in ${model.cells[finding.cell].title}`) : null]],
      ['Reason', reason && quoted(reason)],
      ['Expected', expected && quoted(expected)],
      ['Seen', seen && quoted(seen)],
      ...notesOf(model, finding.notes).map((note) => noteTerm(model, note)),
    ]),
    script(model, model.cases[finding.smallest].id, true),
    make('h3', {}, 'Id'),
    copied(finding.id, 'Id of this finding'),
    make('p', {class: 'hint'}, 'Use this id in waivers and with the command ', make('code', {}, 'python -m conformance finding'), '.'),
    make('h3', {}, 'Cases by exchange'),
    members.length ? byExchange(model, number, members) : make('p', {class: 'nothing'}, 'None of its cases matches the filters.'),
  ];
}

const NO_DEMAND = {b: 'No clause applies, because the protocol forbids the input. The library should raise a clean exception.'};

function waiversOf(model, members) {
  const numbers = members.map(({cell, one}) => numberAt(model.markRows[cell], one)).filter((mark) => mark !== NONE);
  return [...new Set(numbers.map((mark) => model.marks[mark][2]).filter(Boolean))];
}

/** Groups the cases of a finding by exchange; a single exchange is open. */
function byExchange(model, number, members) {
  const columns = new Map();
  for (const member of members) {
    const {column} = model.cases[member.one];
    if (!columns.has(column)) columns.set(column, []);
    columns.get(column).push(member);
  }
  const ordered = [...columns].sort((a, b) => a[0] - b[0]);
  return longList('div', ordered, 40, ([column, found]) => exchangeBox(model, number, column, found, ordered.length === 1));
}

function exchangeBox(model, number, column, members, isOpen) {
  const {pair, group} = model.columns[column], told = make('div', {class: 'told'}), cells = new Set(members.map(({cell}) => cell));
  const content = () => longList('div', seenAlike(model, {members}), MOST, (seen) => seenBox(model, seen));
  const box = make('details', {class: `kind state-${model.states[model.findings[number].state][0]}`, ontoggle: () => {
    if (box.open && !told.firstChild) fill(told, content());
  }}, make('summary', {}, make('b', {}, pair), make('span', {class: 'count'}, group), make('span', {class: 'place'}, `${many(new Set(members.map(({one}) => one)).size, 'case')} in ${many(cells.size, 'cell')}`)), told);
  box.open = isOpen;
  if (isOpen) fill(told, content());
  return box;
}
