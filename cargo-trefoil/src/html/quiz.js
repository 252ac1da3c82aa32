// The quiz asks for the next goroutine. The page asks before it shows.

const quiz = { on: false, open: false, right: 0, asked: 0, answered: -1, event: -1 };

function setQuiz(on) {
  quiz.on = on;
  quiz.open = false;
  part('quizzing').checked = on;
  part('quiz').hidden = !on;
  if (on) {
    showView('replay');
    part('quiz').replaceChildren(el('p', {}, 'Step forward with ', el('kbd', {}, '.'), '. Before a core takes its next goroutine, the page asks which one it is.'), score());
  }
}

function score() {
  return el('p', { id: 'score', role: 'status' }, quiz.asked ? `${quiz.right} of ${quiz.asked} right` : 'No answer yet');
}

/** Collects the goroutines that the M of a switch could run next: the right answer, and others that wait. */
function choices(i) {
  const { trace, queues } = app;
  const lists = queues.seek(replay.at);
  const { numbers } = queues;
  const p = trace.p[i];
  const right = trace.b[i];
  const found = [right];
  const add = (g) => { if (g && g !== trace.a[i] && !found.includes(g) && found.length < 4) found.push(g); };
  if (p !== NO_P) {
    add(lists.head[numbers.slot(p)]);
    add(lists.head[numbers.ring(p)]);
  }
  add(lists.head[numbers.global]);
  if (p !== NO_P) add(lists.tail[numbers.ring(p)]);
  for (let other = 0; other < trace.ps; other++) if (other !== p) add(lists.head[numbers.ring(other)]);
  // Always the same order for the same event, and not always the right one first.
  const turn = (i * 7) % found.length;
  return [...found.slice(turn), ...found.slice(0, turn)];
}

/** Asks about event `i` if more than one goroutine could run. Returns true if the page waits. */
function ask(i) {
  const { trace } = app;
  if (trace.kind[i] !== trace.K.switch || !trace.b[i] || quiz.answered === i) return false;
  if (quiz.open) return true;
  const options = choices(i);
  if (options.length < 2) return false;
  quiz.open = true;
  quiz.event = i;
  const leaves = trace.a[i] ? [gButton(trace.a[i]), trace.how[i] === YIELD ? ' yields' : trace.how[i] >= END ? ' ends' : trace.how[i] === PREEMPT ? ' is preempted' : ' begins to wait'] : ['Its g0 has searched'];
  part('quiz').hidden = false;
  part('quiz').replaceChildren(
    el('h3', {}, `M${trace.m[i]}: what runs next?`),
    el('p', {}, ...leaves, '. Choose with a click or a number key.'),
    el('div', { class: 'options', role: 'group', 'aria-label': 'Answers' }, options.map((g, at) => el('button', { type: 'button', 'data-answer': trace.gs[g].id, onclick: () => answer(g) },
      el('kbd', {}, String(at + 1)), ` ${gName(trace, g)} `, el('span', { class: 'note' }, whereIs(g))))),
    score(),
  );
  quiz.options = options;
  part('quiz').querySelector('.options button').focus({ preventScroll: true });
  return true;
}

function whereIs(g) {
  const { queue, ahead } = app.queues.place(g);
  return queue ? `${app.queues.numbers.name(queue)}${ahead ? `, behind ${ahead}` : ''}` : '';
}

/** Takes an answer, and shows the decision. */
function answer(g) {
  if (!quiz.open) return;
  const { trace } = app;
  const right = trace.b[quiz.event];
  quiz.open = false;
  quiz.asked += 1;
  quiz.right += g === right ? 1 : 0;
  quiz.answered = quiz.event;
  app.go(quiz.event);
  const { rule } = sentence(trace, quiz.event);
  part('quiz').replaceChildren(
    el('p', { class: g === right ? 'right' : 'wrong', id: 'verdict' }, g === right ? 'Right. ' : `No: ${gName(trace, right)} runs. `,
      rule ? el('span', {}, rule.says) : null),
    score(),
  );
  speak(part('verdict').textContent);
  part('scene').focus({ preventScroll: true });
}
