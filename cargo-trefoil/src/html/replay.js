// The replay: one decision at a time, forwards and backwards.
//
// `replay.at` is the number of events that have happened; the last of them is the decision that the
// page explains.

const replay = { at: 0, playing: false, speed: 4, steps: 'decisions', timer: 0 };

/** Events that decide nothing about goroutines. */
const MINOR = ['arm', 'frames', 'snapshot', 'begin', 'ipi_sent', 'ipi_received', 'timer_set', 'timer_cancel', 'alarm', 'spin_end', 'woken', 'rise', 'region_begin', 'region_end', 'log', 'task_begin', 'task_end', 'epoch'];

/** Builds the toolbar. */
function buildSteps() {
  const button = (id, label, text, keys, action) => el('button', { type: 'button', id, 'aria-label': label, title: `${label} (${keys})`, onclick: action }, text);
  byId('steps').replaceChildren(
    button('to-start', 'To the start', '|◀', 'Home', () => app.go(-1)),
    button('back', 'One decision back', '◀', ',', () => step(-1)),
    button('play', 'Play', '▶ play', 'Space', () => play(!replay.playing)),
    button('forward', 'One decision forward', '▶', '.', () => step(1)),
    button('to-end', 'To the end', '▶|', 'End', () => app.go(app.trace.total - 1)),
    el('label', {}, 'speed ', el('select', { id: 'speed', onchange: (event) => { replay.speed = Number(event.target.value); } },
      [1, 2, 4, 10, 30].map((speed) => el('option', { value: speed, selected: speed === replay.speed }, `${speed} a second`)))),
    el('label', {}, 'steps ', el('select', { id: 'which', onchange: (event) => { replay.steps = event.target.value; } },
      el('option', { value: 'decisions' }, 'decisions'), el('option', { value: 'all' }, 'every event'), el('option', { value: 'g' }, 'of the chosen G'))),
    el('label', { class: 'toggle' }, el('input', { type: 'checkbox', id: 'quizzing', onchange: (event) => setQuiz(event.target.checked) }), ' quiz'),
    el('input', { type: 'range', id: 'position', min: 0, max: app.trace.total, value: 0, 'aria-label': 'Event', oninput: (event) => app.go(Number(event.target.value) - 1) }),
    el('output', { id: 'where' }),
  );
}

/** Returns true if a step stops at event `i`. */
function isStep(i) {
  const { trace } = app;
  if (replay.steps === 'all') return true;
  if (replay.steps === 'g' && app.selected) return concerns(i, app.selected);
  return !app.minor[trace.kind[i]];
}

/** Returns true if goroutine `g` takes part in event `i`. */
function concerns(i, g) {
  const { trace } = app;
  if (!app.hasG[trace.kind[i]]) return false;
  return trace.a[i] === g || (trace.kind[i] === trace.K.switch && trace.b[i] === g);
}

/** Returns the event of the next step from the present one, or -1. */
function nextStep(direction) {
  for (let i = replay.at - 1 + direction; i >= 0 && i < app.trace.total; i += direction) if (isStep(i)) return i;
  return -1;
}

/** Makes one step. In quiz mode a step forward may ask first. */
function step(direction) {
  const next = nextStep(direction);
  if (next < 0) {
    if (direction < 0 && replay.at > 0) app.go(-1);
    play(false);
    return;
  }
  if (direction > 0 && quiz.on && ask(next)) return;
  app.go(next);
}

/** Starts or stops. */
function play(on) {
  replay.playing = on;
  const button = byId('play');
  button.textContent = on ? '⏸ pause' : '▶ play';
  button.setAttribute('aria-label', on ? 'Pause' : 'Play');
  clearTimeout(replay.timer);
  if (!on) return;
  const tick = () => {
    if (!replay.playing) return;
    if (!quiz.open) step(1);
    replay.timer = setTimeout(tick, 1000 / replay.speed);
  };
  replay.timer = setTimeout(tick, 1000 / replay.speed);
}

/** Shows the present decision in words, and in the picture if that is in sight. */
function showStep() {
  const { trace } = app;
  const i = replay.at - 1;
  const position = byId('position');
  if (Number(position.value) !== replay.at) position.value = replay.at;
  byId('where').textContent = i < 0 ? 'before the first event' : `event ${count(replay.at)} of ${count(trace.total)} · ${moment(trace.time[i])}`;
  if (byId('view-replay').hidden) return;
  scene.involved = new Set();
  scene.actor = -1;
  if (i < 0) {
    byId('said').replaceChildren(el('p', { class: 'sentence' }, 'Nothing has happened yet. Step forward with ', el('kbd', {}, '.'), ', or play.'));
  } else {
    const { parts, rule, key } = sentence(trace, i);
    parts.forEach((part) => { if (part.g) scene.involved.add(part.g); });
    scene.actor = trace.m[i];
    byId('said').replaceChildren(
      el('p', { class: 'sentence', 'data-key': key ?? '' }, spell(parts)),
      ruleLines(rule) ?? el('p', { class: 'rule' }, `${trace.kindName[trace.kind[i]] ?? 'unknown'}: no decision of the scheduler.`),
    );
    if (!replay.playing) speak(byId('said').querySelector('.sentence').textContent);
  }
  scene.svg?.style.setProperty('--pace', `${Math.min(320, 700 / replay.speed)}ms`);
  drawScene(replay.at);
}
