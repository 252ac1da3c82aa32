// The controls of both runs: steps, play, the slider; and the table of totals.

/** The length of the slider. */
const SLIDER = 10000;

/** The speeds at which the runs play, as `[value, text]`: time in seconds for a window, or steps a second. */
const SPEEDS = [
  ['Time', [60, 20, 5].map((seconds) => [`w${seconds}`, `the window in ${seconds} s`])],
  ['Steps', [1, 2, 4, 10, 30].map((steps) => [`s${steps}`, `${steps} steps a second`])],
];

const player = { playing: false, speed: 'w20', timer: 0, since: 0 };

/** Builds the toolbar. */
function buildControls() {
  const button = (id, label, text, keys, action) => el('button', { type: 'button', id, 'aria-label': label, title: `${label} (${keys})`, onclick: action }, text);
  byId('controls').replaceChildren(
    button('to-start', 'To the start', '|◀', 'Home', toStart),
    button('back', 'One decision back', '◀', ',', () => stepBoth(-1)),
    button('play', 'Play', '▶ play', 'Space', () => play(!player.playing)),
    button('forward', 'One decision forward', '▶', '.', () => stepBoth(1)),
    button('to-end', 'To the end', '▶|', 'End', () => seek(last())),
    el('label', {}, 'speed ', el('select', { id: 'speed', onchange: (event) => setSpeed(event.target.value) },
      SPEEDS.map(([label, speeds]) => el('optgroup', { label }, speeds.map(([value, text]) => el('option', { value, selected: value === player.speed }, text)))))),
    el('label', {}, 'steps ', el('select', { id: 'which', onchange: (event) => pair.panes.forEach((pane) => { pane.replay.steps = event.target.value; }) },
      el('option', { value: 'decisions' }, 'decisions'), el('option', { value: 'all' }, 'every event'), el('option', { value: 'g' }, 'of the chosen G'))),
    el('label', { title: 'The time since the first program event, or the fraction of the run between that event and the end (L)' }, 'line up by ',
      el('select', { id: 'align', onchange: (event) => lineUp(event.target.value) },
        el('option', { value: 'time' }, 'time'), el('option', { value: 'share' }, 'fraction of the run'))),
    el('input', { type: 'range', id: 'position', min: 0, max: SLIDER, value: 0, 'aria-label': 'Time', oninput: (event) => seek((Number(event.target.value) / SLIDER) * last()) }),
    el('output', { id: 'where' }),
  );
}

/** Shows the present position in the toolbar. */
function showClock() {
  const x = clamp(pair.at, 0, last());
  byId('position').value = Math.round((x / last()) * SLIDER);
  byId('align').value = pair.by;
  byId('where').textContent = pair.by === 'time' ? duration(x)
    : `${(x * 100).toFixed(1)} %: A ${duration(pair.panes[0].moment(x))}, B ${duration(pair.panes[1].moment(x))}`;
  writeLater();
}

/** Makes the runs play as fast as `value` says. */
function setSpeed(value) {
  player.speed = value;
  byId('speed').value = value;
  for (const pane of pair.panes) pane.replay.speed = value.startsWith('s') ? Number(value.slice(1)) : FRAMES;
}

/** Starts or stops. */
function play(on) {
  const isWindow = player.speed.startsWith('w');
  if (on && isWindow && pair.at >= last()) toStart();
  player.playing = on;
  player.since = performance.now();
  for (const pane of pair.panes) pane.replay.playing = on;
  const button = byId('play');
  button.textContent = on ? '⏸ pause' : '▶ play';
  button.setAttribute('aria-label', on ? 'Pause' : 'Play');
  clearTimeout(player.timer);
  if (on) player.timer = setTimeout(tick, pause());
}

function pause() {
  return 1000 / (player.speed.startsWith('w') ? FRAMES : Number(player.speed.slice(1)));
}

/** Lets some time pass, or makes a step. */
function tick() {
  if (!player.playing) return;
  const now = performance.now();
  const passed = now - player.since;
  player.since = now;
  if (player.speed.startsWith('w')) {
    const [a] = pair.panes;
    const window = a.position(a.app.view.to) - a.position(a.app.view.from);
    seek(pair.at + (window * passed) / (Number(player.speed.slice(1)) * 1000));
    if (pair.at >= last()) play(false);
  } else if (!stepBoth(1)) {
    play(false);
  }
  if (player.playing) player.timer = setTimeout(tick, pause());
}

/** Writes how many times as large `b` is as `a`. */
function ratio(a, b) {
  if (a === 0) return b === 0 ? '–' : 'new';
  if (a === b) return '1';
  return `× ${b < a / 10 ? (b / a).toPrecision(2) : digits(b / a)}`;
}

/** Builds the table of totals. */
function buildTotals(totals) {
  const cell = ({ unit, least }, value, at) => `${least[at] ? '≥ ' : ''}${unit === 'ns' ? duration(value) : count(value)}`;
  const isFar = ({ a, b }) => b > a * 1.5 || a > b * 1.5;
  const row = (name, title, of) => el('tr', {}, el('th', { scope: 'row', title }, name), totals.map((total) => el('td', { class: 'number' }, of(total))));
  const [a, b] = pair.panes;
  byId('totals').replaceChildren(el('table', {},
    el('thead', {}, el('tr', {}, el('th', {}), totals.map(({ name, meaning }) => el('th', { scope: 'col', title: meaning }, name)))),
    el('tbody', {},
      row('A', a.run.name, (total) => cell(total, total.a, 0)),
      row('B', b.run.name, (total) => cell(total, total.b, 1)),
      el('tr', { class: 'ratio' }, el('th', { scope: 'row' }, 'B ÷ A'), totals.map((total) => el('td', { class: isFar(total) ? 'number far' : 'number' }, ratio(total.a, total.b)))))));
}
