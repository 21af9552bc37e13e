// Entry point. The address selects the view; every change of the address redraws the page.

function start(model) {
  let address = readAddress(), view = null, opener = null;
  const link = (changes) => written({...readAddress(), ...changes});
  const go = (changes, replaces = false) => {
    try {
      history[replaces ? 'replaceState' : 'pushState'](null, '', link(changes));
    } catch {
      location.hash = link(changes);  // some browsers forbid pages from files to change their history
    }
    draw(true);
  };
  const open = (cell, column) => {
    go({open: model.cells[cell].name + (column === NONE ? '' : `~${model.columns[column].key}`)});
  };
  const close = () => {
    go(address.place === 'finding' ? {place: 'findings', argument: ''} : {open: ''});
    if (opener && opener.isConnected) opener.focus(); else byId('content').focus();
  };
  const matrix = new Matrix(model, open), detail = new Detail(byId('detail'), model, link, close);
  let later = 0;
  const change = (name, value, isTyping) => {
    const changes = name ? {[name]: value} : Object.fromEntries(FILTERS.map((filter) => [filter, '']));
    clearTimeout(later);
    if (isTyping) later = setTimeout(() => go(changes, true), 150); else go(changes);
  };

  fill(byId('answer'), answer(model, (changes) => written({...readAddress(), ...Object.fromEntries(FILTERS.map((name) => [name, ''])), ...changes})));
  fill(byId('filters'), filterFields(model, change));
  fill(byId('foot'), make('p', {}, 'This file is self-contained and makes no network requests. ', model.cut < 4000 ? `Messages longer than ${model.cut} characters are shortened here; the run file has the full text. ` : ''));
  byId('filters').addEventListener('submit', (event) => event.preventDefault());

  const whole = () => {
    if (!view.cells.length) return [make('p', {class: 'nothing'}, 'Nothing matches the filters.')];
    const alone = view.cells.length === 1 ? pairGrids(model, view, view.cells[0], link) : null;
    return [legend(model), matrix.element, alone];
  };
  const content = () => {
    switch (address.place) {
      case 'matrix': return whole();
      case 'calls': return callTables(model, view);
      case 'cases': return otherCases(model, view, link);
      case 'invariants': return rules(model, view, link);
      case 'invariant': return rule(model, view, address.argument, link);
      default: return findingsList(model, view, link);
    }
  };
  const draw = (moves) => {
    const before = address;
    address = readAddress();
    const isSame = ['order', ...FILTERS].every((name) => before[name] === address[name]);
    const stays = view && isSame && tabOf(before) === tabOf(address) && (tabOf(address) === 'findings' || before.argument === address.argument);
    if (!view || !isSame) view = new View(model, address);
    if (!stays) {
      showFilters(byId('filters'), address);
      byId('status').textContent = leftText(view, address);
      fill(byId('content'), content());
      if (address.place === 'matrix') matrix.show(view);
      if (moves && address.place === 'invariant') byId('views').scrollIntoView();
    }
    fill(byId('views'), tabs(model, address, link));
    document.title = `${titleOf(address)} · array interop conformance`;
    if (!stays || before.open !== address.open || before.argument !== address.argument) showOpen(moves);
  };
  const titleOf = ({place, argument}) => place === 'invariant' || place === 'finding' ? argument : model.headline;
  const showOpen = (moves) => {
    if (byId('content').contains(document.activeElement)) opener = document.activeElement;
    const found = address.place === 'finding' ? {finding: model.findingOf.get(address.argument) ?? NONE, id: address.argument} : opened(model, address.open);
    if (found) detail.show(view, found, moves);
    else detail.hide();
    markFinding(found && found.finding);
    if (address.place === 'matrix') matrix.draw();
  };
  addEventListener('hashchange', () => draw(true));
  addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && (address.open || address.place === 'finding') && !byId('detail').contains(event.target)) close();
  });
  draw(false);
  document.documentElement.dataset.ready = 'yes';
}

/** Returns the field or cell that an address opens: `cell` or `cell~exchange`; nothing if this run does not have it. */
function opened(model, text) {
  const cellOf = (name) => model.cells.findIndex((one) => one.name === name);
  if (!text) return null;
  if (cellOf(text) >= 0) return {cell: cellOf(text), column: NONE};
  const end = text.lastIndexOf('~');
  const cell = cellOf(text.slice(0, end)), column = model.columns.findIndex((one) => one.key === text.slice(end + 1));
  return cell < 0 || column < 0 ? null : {cell, column};
}

function failed(error) {
  fill(byId('content'), make('p', {class: 'nothing'}, 'This browser cannot unpack the results: ', String(error), '. Use a browser of 2023 or later, or read summary.md or junit.xml.'));
  document.documentElement.dataset.ready = 'failed';
}

unpacked(byId('data').textContent).then(start).catch(failed);
