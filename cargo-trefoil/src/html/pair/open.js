// The page of two traces: its keys, its address, and how it opens.

/** The keys of the timelines go to the pane that was used last. */
function paneKeys() {
  return pair.panes[0].page.TIMELINE_KEYS.map(([names, text, keys], at) => [names, text, keys, () => pair.active.page.TIMELINE_KEYS[at][3]()]);
}

function pairKeys() {
  return [
    ['Timeline', paneKeys()],
    ['Both runs', [
      [', .', 'one decision back and forward, in either run', [','], () => stepBoth(-1)],
      [null, null, ['.'], () => stepBoth(1)],
      ['Space', 'play and pause', [' '], () => play(!player.playing)],
      ['Home End', 'to the start and the end', ['Home'], toStart],
      [null, null, ['End'], () => seek(last())],
      ['L', 'line up by time, or by the fraction of the run', ['l', 'L'], () => lineUp(pair.by === 'time' ? 'share' : 'time')],
    ]],
    ['Page', [
      ['V then 1 to 6', 'views: timeline and replay, one of them, sites, goroutines, memory', null, null],
      ['G', 'between timeline and replay', ['g', 'G'], () => showBoth(pair.shown === 'replay' ? 'timeline' : 'replay')],
      ['/', 'filter', ['/'], () => byId('filter').focus()],
      ['Esc', 'close, clear, leave the filter', ['Escape'], escapeBoth],
      ['T', 'light or dark', ['t', 'T'], toggleTheme],
      ['?', 'these keys', null, null],
    ]],
  ];
}

/** Takes a digit: the number of a view. */
function digit(number, isView) {
  if (!isView || !pair.views[number - 1]) return false;
  showBoth(pair.views[number - 1][0]);
  return true;
}

function escapeBoth() {
  const filter = byId('filter');
  if (document.activeElement === filter) {
    if (filter.value) takeFilter('');
    else pair.active.root.getElementById('lanes').focus();
    return;
  }
  chooseBoth(pair.panes[0], 0);
}

/** Chooses goroutine `g` of `pane`, and its twin. */
function chooseBoth(pane, g) {
  const other = pair.panes[1 - pane.number];
  together(() => {
    pane.app.select(g);
    pane.chosen = g;
    pane.root.getElementById('match').textContent = '';
    other.chooseAs(pane);
  });
  writeLater();
}

function writeLater() {
  clearTimeout(pair.writer);
  if (pair.ready) pair.writer = setTimeout(writeLink, 250);
}

/** Writes the view into the address: `#x=position&by=share&t=from-to&a=G&b=G&v=view&q=filter`. */
function writeLink() {
  const [a, b] = pair.panes;
  const { from, to } = a.app.view;
  const parts = [`x=${pair.at}`, `t=${Math.round(from)}_${Math.round(to)}`];
  if (pair.by !== 'time') parts.push(`by=${pair.by}`);
  // One of them leads to the other.
  const lead = a.app.selected ? a : b;
  if (lead.app.selected) parts.push(`${lead.letter.toLowerCase()}=${lead.trace.gs[lead.app.selected].id}`);
  if (pair.shown !== 'both') parts.push(`v=${pair.shown}`);
  if (a.app.query) parts.push(`q=${encodeURIComponent(a.app.query)}`);
  pair.written = `#${parts.join('&')}`;
  if (location.hash !== pair.written) history.replaceState(null, '', pair.written);
}

/** Follows an address. */
function readLink() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const [a, b] = pair.panes;
  const wanted = parts.get('v');
  lineUp(parts.get('by') === 'share' ? 'share' : 'time');
  a.app.view.whole();
  const [from, to] = (parts.get('t') ?? '').split('_').map(Number);
  if (to > from) a.app.view.show(from, to);
  showBoth(pair.views.some(([name]) => name === wanted) ? wanted : 'both');
  takeFilter(parts.get('q') ?? '');
  const lead = parts.has('b') ? b : a;
  chooseBoth(lead, lead.byId.get(Number(parts.get(lead.letter.toLowerCase()))) ?? 0);
  if (Number(parts.get('x')) > 0) seek(Number(parts.get('x')), false);
  else toStart();
}

/** Reads the two traces, and opens the page. */
async function open() {
  const { runs, totals, different } = JSON.parse(byId('runs').textContent);
  pair.panes = runs.map((run, number) => new Pane(number, run));
  for (const pane of pair.panes) await pane.read();
  [pair.active] = pair.panes;
  pair.views = [['both', 'Timeline and replay'], ...pair.active.page.VIEWS];
  const [a, b] = pair.panes;
  byId('lengths').textContent = `A took ${duration(a.end)}, B ${duration(b.end)} (${ratio(a.end, b.end)})`;
  byId('different').hidden = !different;
  byId('different').textContent = different;
  buildTabs(pair.views, () => 'panes', showBoth);
  buildTotals(totals);
  buildControls();
  setSpeed(player.speed);
  pair.panes.forEach((pane) => pane.build());
  listenToFilter((text) => takeFilter(text));
  listenToKeys(pairKeys(), NOTES, digit);
  readLink();
  pair.ready = true;
  byId('loading').remove();
  window.addEventListener('hashchange', () => { if (location.hash !== pair.written) readLink(); });
  pair.opened = performance.now();
}

open().catch((error) => {
  byId('loading').replaceChildren(el('p', {}, `The traces can’t be shown: ${error.message}`));
  throw error;
});
