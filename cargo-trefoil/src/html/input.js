// The mouse on the timelines: the wheel zooms, a drag pans, a click chooses.

/** Connects the timelines and the overview with the mouse. */
function listenToMouse() {
  const lanes = part('lanes');
  const chart = part('chart');
  let drag = null;

  lanes.addEventListener('wheel', (event) => {
    const { view } = app;
    const x = event.clientX - lanes.getBoundingClientRect().left;
    if (x < view.left || event.shiftKey === false && event.altKey) return;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      view.pan((event.deltaX || event.deltaY) / view.width);
    } else {
      event.preventDefault();
      const pixels = event.deltaMode === 1 ? event.deltaY * 30 : event.deltaY;
      view.zoom(Math.exp(clamp(pixels, -240, 240) * 0.0022), view.time(x));
    }
    app.changed();
  }, { passive: false });

  lanes.addEventListener('scroll', () => app.changed());

  chart.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    const { offsetX: x, offsetY: y } = event;
    drag = { x, y, top: lanes.scrollTop, from: app.view.from, to: app.view.to, moved: false, range: y < RULER };
    chart.setPointerCapture(event.pointerId);
    lanes.focus({ preventScroll: true });
  });
  chart.addEventListener('pointermove', (event) => {
    const { offsetX: x, offsetY: y } = event;
    if (!drag) return showTip(event);
    if (Math.abs(x - drag.x) + Math.abs(y - drag.y) > 3) drag.moved = true;
    if (!drag.moved) return;
    byId('tip').hidden = true;
    if (drag.range) {
      drag.now = x;
    } else {
      const by = ((drag.x - x) / app.view.width) * (drag.to - drag.from);
      app.view.show(drag.from + by, drag.to + by);
      lanes.scrollTop = drag.top + drag.y - y;
    }
    app.changed();
  });
  chart.addEventListener('pointerup', (event) => {
    const { view } = app;
    if (drag && drag.range && drag.moved) {
      const [x0, x1] = [Math.min(drag.x, event.offsetX), Math.max(drag.x, event.offsetX)];
      const [from, to] = [view.time(x0), view.time(x1)];
      view.show(from, to);
      app.changed();
    } else if (drag && !drag.moved) {
      clickAt(event.offsetX, event.offsetY + lanes.scrollTop, event.offsetY);
    }
    drag = null;
  });
  chart.addEventListener('pointercancel', () => { drag = null; });
  chart.addEventListener('pointerleave', () => { byId('tip').hidden = true; });
  chart.addEventListener('dblclick', (event) => {
    const hit = pieceUnder(event.offsetX, event.offsetY + lanes.scrollTop);
    if (hit && hit.end > hit.start) {
      app.view.show(hit.start - (hit.end - hit.start) * 0.2, hit.end + (hit.end - hit.start) * 0.2);
      app.changed();
    }
  });

  const overview = part('overview');
  const jump = (event) => {
    const { view } = app;
    const t = view.begin + (event.offsetX / overview.clientWidth) * (view.end - view.begin);
    view.show(t - view.span / 2, t + view.span / 2);
    app.changed();
  };
  overview.addEventListener('pointerdown', (event) => {
    overview.setPointerCapture(event.pointerId);
    jump(event);
  });
  overview.addEventListener('pointermove', (event) => { if (event.buttons & 1) jump(event); });
  overview.addEventListener('wheel', (event) => {
    event.preventDefault();
    app.view.zoom(Math.exp(clamp(event.deltaY, -240, 240) * 0.0022));
    app.changed();
  }, { passive: false });
}

/** Returns the row and the piece under a point; the piece may be missing. */
function pieceUnder(x, y) {
  const { view, trace, cores, gs, queues } = app;
  const number = rowAtHeight(y);
  if (number < 0) return null;
  const row = rowAt(number);
  const t = view.time(x);
  const hit = { number, row, t, g: 0, ev: -1, start: 0, end: 0, text: '' };
  if (row.kind === 'm' || row.kind === 'p') {
    const lane = cores[row.kind === 'm' ? 'ms' : 'ps'][row.index];
    const i = nearest(lane.start, lane.end, t, 0, lane.size, view.span / view.width);
    if (i >= 0) Object.assign(hit, { g: lane.g[i], ev: lane.ev[i], start: lane.start[i], end: lane.end[i], text: `${gName(trace, lane.g[i])} runs` });
    else if (row.kind === 'm') {
      const idle = pieceAt(cores.idle[row.index], t);
      if (idle >= 0) hit.text = ['', 'searches for work', 'spins: looks into other P’s queues', 'rests'][cores.idle[row.index].g[idle]];
    }
    if (row.kind === 'p') {
      const ring = queues.lengths[queues.numbers.ring(row.index)];
      hit.text += `${hit.text ? ' · ' : ''}${mostWithin(ring, t, t)} in the ring`;
    }
  } else if (row.kind === 'global') {
    hit.text = `${many(mostWithin(queues.lengths[queues.numbers.global], t, t), 'goroutine')} in the global queue`;
  } else if (row.kind === 'memory') {
    hit.text = memoryAt(t);
  } else if (row.kind === 'g') {
    hit.g = row.index;
    const i = gPieceAt(gs, row.index, t);
    if (i >= 0) {
      const state = gs.state[i];
      const doing = state === WAITING ? `waits: ${why(trace, trace.how[gs.ev[i]])}` : state === RUNNING ? `runs on M${trace.m[gs.ev[i]]}` : STATE_NAMES[state];
      const spans = spansAt(row.index, t);
      Object.assign(hit, { ev: gs.ev[i], start: gs.start[i], end: gs.end[i], text: spans.length ? `${doing} · in ${spans.join(', ')}` : doing });
    }
  }
  return hit;
}

/** Returns the piece at the time `t`, or the closest one within `slack`. */
function nearest(start, end, t, from, to, slack) {
  const i = after(start, t, from, to) - 1;
  if (i >= from && t < end[i] + slack) return i;
  return i + 1 < to && start[i + 1] - t < slack ? i + 1 : -1;
}

function showTip(event) {
  const tip = byId('tip');
  const hit = pieceUnder(event.offsetX, event.offsetY + part('lanes').scrollTop);
  if (!hit || event.offsetY < RULER || event.offsetX < app.view.left || !hit.text) {
    tip.hidden = true;
    return;
  }
  const lines = [el('b', {}, hit.row.kind === 'g' ? `${gName(app.trace, hit.g)} ${hit.text}` : hit.text)];
  if (hit.g) lines.push(el('span', {}, `${gFunction(app.trace, hit.g)} · ${gSite(app.trace, hit.g)}`));
  if (hit.end > hit.start) lines.push(el('span', {}, `${duration(hit.end - hit.start)} from ${moment(hit.start)}`));
  tip.replaceChildren(...lines);
  tip.hidden = false;
  tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 16, window.innerHeight - tip.offsetHeight - 8)}px`;
}

/** Chooses the goroutine under a point, and makes the moment there the present one. */
function clickAt(x, y, yInView) {
  const { view, trace } = app;
  if (yInView < RULER) {
    app.goTime(view.time(x));
    return;
  }
  const hit = pieceUnder(x, y);
  if (!hit) return;
  timeline.focus = hit.number;
  if (x >= view.left) {
    if (hit.ev >= 0 && trace.time[hit.ev] >= view.from) app.go(hit.ev);
    else app.goTime(hit.t);
  }
  if (hit.g) app.select(hit.g);
  app.changed();
}
