// Decode the content of the page: base64, deflate, then the row format of conformance/reports/page/packing.py.

const NONE = -1;
const CHAINS = 'chains of three';
const GONE = ['g', 'not planned', '□', 'the baseline has the case, but this run did not plan it'];
/** Letters of the verdicts that count against a library. */
const AGAINST = 'vbd';

/** Decodes base64 text to bytes. */
function bytesOf(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** Inflates bytes with the browser's DecompressionStream. */
async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Reads numbers, blocks, stretches and rows in the order in which they were packed. */
class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  number() {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes[this.at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  block() {
    const length = this.number();
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  stretches() {
    const found = [];
    let end = 0;
    for (let left = this.number(); left > 0; left--) {
      const first = end + this.number();
      end = first + this.number();
      for (let i = first; i < end; i++) found.push(i);
    }
    return Uint32Array.from(found);
  }

  rows(count) {
    const found = [];
    for (let i = 0; i < count; i++) {
      const back = this.number();
      found.push(this.row(back ? found[i - back] : {positions: [], numbers: []}));
    }
    return found;
  }

  /** One row: the base with some positions changed, both in ascending order. */
  row(base) {
    const changed = new Uint32Array(this.number());
    let position = 0;
    for (let i = 0; i < changed.length; i++) changed[i] = position += this.number();
    const positions = [], numbers = [];
    let b = 0;
    for (const here of changed) {
      for (; b < base.positions.length && base.positions[b] < here; b++) {
        positions.push(base.positions[b]);
        numbers.push(base.numbers[b]);
      }
      if (base.positions[b] === here) b++;
      const number = this.number();
      if (number) {
        positions.push(here);
        numbers.push(number - 1);
      }
    }
    for (; b < base.positions.length; b++) {
      positions.push(base.positions[b]);
      numbers.push(base.numbers[b]);
    }
    return {positions: Uint32Array.from(positions), numbers: Uint32Array.from(numbers)};
  }
}

/** Returns the number of a row at a position, or NONE. */
function numberAt(row, position) {
  let low = 0, high = row.positions.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (row.positions[middle] === position) return row.numbers[middle];
    if (row.positions[middle] < position) low = middle + 1; else high = middle - 1;
  }
  return NONE;
}

/** The data of the page, with indices for lookup. */
async function unpacked(text) {
  const whole = new Reader(await inflated(bytesOf(text)));
  const model = JSON.parse(new TextDecoder().decode(whole.block()));
  const reader = new Reader(whole.block());
  const count = model.cells.length;
  model.plans = Array.from({length: model.plans}, () => reader.stretches());
  model.rows = reader.rows(count);
  model.markRows = reader.rows(count);
  model.streakRows = reader.rows(count);
  model.shownRows = reader.rows(count);
  model.states.push(GONE);
  model.stateOf = Object.fromEntries(model.states.map(([letter], index) => [letter, index]));
  model.values = model.values.map(([letter, evidence]) => ({state: model.stateOf[letter], evidence}));
  model.evidence = model.evidence.map((told) => evidenceOf(told, model.texts));
  indexCases(model);
  for (const finding of model.findings) finding.state = model.stateOf[finding.state];
  model.findingOf = new Map(model.findings.map(({id}, index) => [id, index]));
  model.titleOf = Object.fromEntries(model.libraries.map(([name, title]) => [name, title]));
  model.waived = model.marks.some(([, , waiver]) => waiver) ? waivedViolations(model) : null;
  return model;
}

function evidenceOf([outcome, level, clause, side, accused, reason, expected, seen, why, notes], texts) {
  const pairs = [];
  for (let i = 0; i < notes.length; i += 2) pairs.push([texts[notes[i]], texts[notes[i + 1]]]);
  return {outcome, level, clause, side, accused, reason: texts[reason], expected: texts[expected], seen: texts[seen], why: texts[why], notes: pairs};
}

/** Returns the numbers of the findings that a case of a cell shows. */
function findingsAt(model, cell, one) {
  const number = numberAt(model.shownRows[cell], one);
  return number === NONE ? [] : model.shown[number];
}

/** Splits the case ids: `family.name/producer-consumer/protocol/device[/value…]`. Chains have more libraries, and share one column. */
function indexCases(model) {
  model.columns = model.columns.map(([way, device, producer, consumer, key]) => ({
    device, producer, consumer, key, pair: producer ? `${producer} → ${consumer}` : CHAINS, isChains: !producer, group: `${way} on ${device}`,
  }));
  const columns = new Map(model.columns.map(({key}, index) => [key, index]));
  model.cases = model.cases.map((id) => {
    const [invariant, who, protocol, device] = id.split('/');
    const family = invariant.split('.')[0], libraries = who.split('-');
    const column = columns.get([family === 'claim' ? family : protocol, device, libraries.length > 2 ? '-' : who].join('/'));
    return {id, invariant, family, column, libraries};
  });
}
