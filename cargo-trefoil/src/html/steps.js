// The toolbar of a page of one trace: steps, play, the slider.

/** Builds the toolbar. */
function buildSteps() {
  const button = (id, label, text, keys, action) => el('button', { type: 'button', id, 'aria-label': label, title: `${label} (${keys})`, onclick: action }, text);
  part('steps').replaceChildren(
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
  const button = part('play');
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

/** Shows the present event in the toolbar. */
function showPosition() {
  const { trace } = app;
  const position = part('position');
  if (Number(position.value) !== replay.at) position.value = replay.at;
  part('where').textContent = replay.at ? `event ${count(replay.at)} of ${count(trace.total)} · ${moment(trace.time[replay.at - 1])}` : 'before the first event';
}
