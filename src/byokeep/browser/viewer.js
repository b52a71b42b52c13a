// Shows the pictures that the server sends, and sends mouse and keys. Nothing is kept.
'use strict';
const desk = document.getElementById('desk');
const screen = Object.assign(new Image(), {id: 'screen', alt: '', draggable: false});  // the desk has the name
const done = document.getElementById('done');
const state = document.getElementById('state');
const host = document.getElementById('host');
const lock = document.getElementById('lock');
const socket = new WebSocket(location.href.replace(/^http/, 'ws') + 'view');
const size = {width: 1, height: 1};
const send = message => { if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)); };
const modifiers = event => (event.altKey ? 1 : 0) | (event.ctrlKey ? 2 : 0) | (event.metaKey ? 4 : 0) | (event.shiftKey ? 8 : 0);
const BUTTONS = ['left', 'middle', 'right'];

// The picture fills the window as far as it goes without being distorted.
const fit = () => {
  const room = desk.parentElement, pad = 24;
  const scale = Math.min((room.clientWidth - pad) / size.width, (room.clientHeight - pad) / size.height);
  screen.style.width = Math.floor(size.width * scale) + 'px';
  screen.style.height = Math.floor(size.height * scale) + 'px';
};
window.addEventListener('resize', fit);

socket.onopen = () => { state.textContent = 'Log in here by hand, then press Done (Ctrl+M takes the keyboard there).'; };
const ENDS = {
  4000: 'This login has ended. You may close this page.',
  4001: 'This login was cancelled, or its time is over. Nothing more can be done here.',
  4002: 'Somebody else is at this browser. Load this page again when they have left.',
};
socket.onclose = event => {  // nothing here reaches the browser any more: nothing may look as if it did
  state.textContent = ENDS[event.code] || 'The connection has ended. If the login still waits, load this page again.';
  document.body.classList.add('over');
  for (const button of document.querySelectorAll('button')) button.disabled = true;
  desk.removeAttribute('tabindex');
};
socket.onmessage = event => {
  const said = JSON.parse(event.data);
  size.width = said.width; size.height = said.height;
  const where = said.host || '-', how = said.tls ? 'encrypted' : 'not encrypted';
  if (host.textContent !== where || lock.textContent !== how) {  // it is read out when it changes
    host.textContent = where; lock.textContent = how; lock.className = said.tls ? 'tls' : '';
  }
  screen.src = 'data:image/jpeg;base64,' + said.picture;
  if (desk.hidden) { desk.append(screen); desk.hidden = false; desk.focus(); }
  fit();
};

const mouse = (kind, event, more) => {
  const box = screen.getBoundingClientRect();
  send({mouse: kind, x: (event.clientX - box.left) * size.width / box.width,
    y: (event.clientY - box.top) * size.height / box.height, modifiers: modifiers(event), ...more});
  event.preventDefault();
};
screen.addEventListener('mousedown', event => { desk.focus(); mouse('press', event, {button: BUTTONS[event.button], clickCount: event.detail}); });
screen.addEventListener('mouseup', event => mouse('release', event, {button: BUTTONS[event.button], clickCount: event.detail}));
screen.addEventListener('mousemove', event => mouse('move', event, {button: event.buttons & 1 ? 'left' : 'none'}));
screen.addEventListener('wheel', event => mouse('wheel', event, {deltaX: event.deltaX, deltaY: event.deltaY}), {passive: false});
screen.addEventListener('contextmenu', event => event.preventDefault());

const key = (kind, event) => {
  if (event.ctrlKey && event.key.toLowerCase() === 'm') {  // Tab goes to the server: this is the way out
    done.focus();
    event.preventDefault();
    return;
  }
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'v') return;  // comes as a paste
  const typed = event.key.length === 1 && !event.ctrlKey && !event.metaKey ? event.key : (event.key === 'Enter' ? '\r' : '');
  send({key: kind === 'up' ? 'up' : (typed ? 'down' : 'raw'), name: event.key, code: event.code, number: event.keyCode,
    text: kind === 'up' ? '' : typed, modifiers: modifiers(event)});
  event.preventDefault();
};
desk.addEventListener('keydown', event => key('down', event));
desk.addEventListener('keyup', event => key('up', event));
desk.addEventListener('paste', event => {
  for (const char of event.clipboardData.getData('text')) { send({key: 'down', name: char, text: char}); send({key: 'up', name: char}); }
  event.preventDefault();
});
document.getElementById('reload').onclick = () => send({do: 'reload'});
done.onclick = () => {
  send({done: true});
  state.textContent = 'You said that you are done.';
  document.getElementById('then').hidden = false;
  fit();
};
