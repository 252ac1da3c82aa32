// The frame of a page: its theme, its tabs, and its keys.

/** The letter that comes before the number of a view. */
const PREFIX = /^v$/i;

/** Changes between light and dark. Back at the system's theme the page follows the system again. */
function toggleTheme() {
  const { dataset } = document.documentElement;
  const isSystemDark = matchMedia('(prefers-color-scheme: dark)').matches;
  const isDark = dataset.theme ? dataset.theme === 'dark' : isSystemDark;
  if (isDark === isSystemDark) dataset.theme = isDark ? 'light' : 'dark';
  else delete dataset.theme;
}

/** Calls `draw` after each change of the theme, by the page or by the system. */
function listenToTheme(draw) {
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ['data-theme'] });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}

/** Builds the tabs of `views`, which are pairs of a name and a title. */
function buildTabs(views, controls, show) {
  byId('tabs').replaceChildren(...views.map(([name, title], at) => el('button', {
    type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': controls(name), onclick: () => show(name), onkeydown: (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const [next] = views[(at + by + views.length) % views.length];
      show(next);
      byId(`tab-${next}`).focus();
    },
  }, title)));
}

/** Marks the tab of the view that is shown. */
function markTab(name) {
  for (const tab of byId('tabs').children) {
    const isShown = tab.id === `tab-${name}`;
    tab.setAttribute('aria-selected', isShown);
    tab.tabIndex = isShown ? 0 : -1;
  }
}

/**
 * Connects the keyboard, and the buttons of its overlay and of the theme. A table is `[title, keys]`, and a key is
 * `[names as shown, meaning, names, action]`. `digit` takes a digit and whether a V came before it,
 * and returns true if the digit had a meaning.
 */
function listenToKeys(tables, notes, digit) {
  const actions = new Map([['?', () => toggleKeys(tables, notes)]]);
  for (const [, keys] of tables) for (const [, , names, action] of keys) for (const name of names ?? []) actions.set(name, action);
  byId('theme').addEventListener('click', toggleTheme);
  byId('help').addEventListener('click', actions.get('?'));
  let isView = false;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    // The element itself, and not the pane around it.
    const [target] = event.composedPath();
    const isText = target.matches?.('input[type=search], select');
    if (isText && key !== 'Escape') return;
    // A button, a slider and an open section keep their own keys.
    if (target.matches?.('button, summary, a, input') && (key === 'Enter' || key === ' ')) return;
    if (target.matches?.('input[type=range]') && (key.startsWith('Arrow') || key === 'Home' || key === 'End')) return;
    if (target.matches?.('[role=tab]') && (key.startsWith('Arrow') || key === 'Home' || key === 'End')) return;
    if (byId('keys').open && key !== '?') return;
    if (/^[1-9]$/.test(key) && digit(Number(key), isView)) {
      isView = false;
      event.preventDefault();
      return;
    }
    isView = PREFIX.test(key);
    if (target.closest?.('.table, #detail, #view-memory') && (key === 'ArrowUp' || key === 'ArrowDown')) return;
    const action = actions.get(key);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** Opens or closes the overlay of the keys. */
function toggleKeys(tables, notes) {
  const dialog = byId('keys');
  if (dialog.open) {
    dialog.close();
    return;
  }
  dialog.replaceChildren(
    el('h2', { id: 'keys-title' }, 'Keys'),
    el('div', { class: 'keys' }, tables.map(([title, keys]) => el('section', {}, el('h3', {}, title),
      el('dl', {}, keys.filter(([name]) => name).map(([name, text]) => el('div', {}, el('dt', {}, el('kbd', {}, name)), el('dd', {}, text))))))),
    ...notes.map((note) => el('p', { class: 'note' }, note)),
    el('p', {}, el('button', { type: 'button', onclick: () => dialog.close() }, 'Close')),
  );
  dialog.showModal();
}

/** Notes below the keys, for every page. */
const NOTES = [
  'Mouse: the wheel zooms, a drag pans, a drag on the ruler zooms to a range, Shift and the wheel pan, the wheel over the names scrolls, a double click zooms to a piece.',
  'Filter: words that names, functions and places contain; name: site: g: m: p: reason: look at one of these alone; a minus turns a word round.',
];

/** Calls `take` with the text of the filter, a little after each change. */
function listenToFilter(take) {
  let wait = 0;
  byId('filter').addEventListener('input', (event) => {
    clearTimeout(wait);
    wait = setTimeout(() => take(event.target.value), 120);
  });
}
