// The replay: one decision at a time, forwards and backwards.
//
// `replay.at` is the number of events that have happened; the last of them is the decision that the
// page explains.

const replay = { at: 0, playing: false, speed: 4, steps: 'decisions', timer: 0 };

/** Events that decide nothing about goroutines. */
const MINOR = ['arm', 'frames', 'snapshot', 'begin', 'ipi_sent', 'ipi_received', 'timer_set', 'timer_cancel', 'alarm', 'spin_end', 'woken', 'rise', 'region_begin', 'region_end', 'log', 'task_begin', 'task_end', 'epoch'];

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

/** Returns the event of the next step after the first `at` events, or -1. */
function nextStep(direction, at = replay.at) {
  for (let i = at - 1 + direction; i >= 0 && i < app.trace.total; i += direction) if (isStep(i)) return i;
  return -1;
}

/** Shows the present decision in words, and in the picture if that is in sight. */
function showStep() {
  const { trace } = app;
  const i = replay.at - 1;
  host.stepped();
  if (part('view-replay').hidden) return;
  scene.involved = new Set();
  scene.actor = -1;
  if (i < 0) {
    part('said').replaceChildren(el('p', { class: 'sentence' }, 'Nothing has happened yet. Step forward with ', el('kbd', {}, '.'), ', or play.'));
  } else {
    const { parts, rule, key } = sentence(trace, i);
    parts.forEach((part) => { if (part.g) scene.involved.add(part.g); });
    scene.actor = trace.m[i];
    part('said').replaceChildren(
      el('p', { class: 'sentence', 'data-key': key ?? '' }, spell(parts)),
      ruleLines(rule) ?? el('p', { class: 'rule' }, `${trace.kindName[trace.kind[i]] ?? 'unknown'}: no decision of the scheduler.`),
    );
    if (!replay.playing) host.say(part('said').querySelector('.sentence').textContent);
  }
  scene.svg?.style.setProperty('--pace', `${Math.min(320, 700 / replay.speed)}ms`);
  drawScene(replay.at);
}
