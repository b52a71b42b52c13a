// Shows the pictures that the server sends, and sends mouse and keys. Nothing is kept.
'use strict';
const screen = document.getElementById('screen');
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
  const room = screen.parentElement, pad = 24;
  const scale = Math.min((room.clientWidth - pad) / size.width, (room.clientHeight - pad) / size.height);
  screen.style.width = Math.floor(size.width * scale) + 'px';
  screen.style.height = Math.floor(size.height * scale) + 'px';
};
window.addEventListener('resize', fit);

socket.onopen = () => { state.textContent = 'This is the browser on the server. Log in by hand, then press Done.'; screen.focus(); };
const ENDS = {
  4000: 'This login has ended. You may close this page.',
  4001: 'This login was cancelled, or its time is over. Nothing more can be done here.',
  4002: 'Somebody else is at this browser. Load this page again when they have left.',
};
socket.onclose = event => {  // nothing here reaches the browser any more: nothing may look as if it did
  state.textContent = ENDS[event.code] || 'The connection has ended. If the login still waits, load this page again.';
  document.body.classList.add('over');
  for (const button of document.querySelectorAll('button')) button.disabled = true;
};
socket.onmessage = event => {
  const said = JSON.parse(event.data);
  size.width = said.width; size.height = said.height;
  host.textContent = said.host || '-';
  lock.className = said.tls ? 'tls' : '';
  lock.title = said.tls ? 'encrypted' : 'not encrypted';
  fit();
  screen.src = 'data:image/jpeg;base64,' + said.picture;
};

const mouse = (kind, event, more) => {
  const box = screen.getBoundingClientRect();
  send({mouse: kind, x: (event.clientX - box.left) * size.width / box.width,
    y: (event.clientY - box.top) * size.height / box.height, modifiers: modifiers(event), ...more});
  event.preventDefault();
};
screen.addEventListener('mousedown', event => { screen.focus(); mouse('press', event, {button: BUTTONS[event.button], clickCount: event.detail}); });
screen.addEventListener('mouseup', event => mouse('release', event, {button: BUTTONS[event.button], clickCount: event.detail}));
screen.addEventListener('mousemove', event => mouse('move', event, {button: event.buttons & 1 ? 'left' : 'none'}));
screen.addEventListener('wheel', event => mouse('wheel', event, {deltaX: event.deltaX, deltaY: event.deltaY}), {passive: false});
screen.addEventListener('contextmenu', event => event.preventDefault());

const key = (kind, event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'v') return;  // comes as a paste
  const typed = event.key.length === 1 && !event.ctrlKey && !event.metaKey ? event.key : (event.key === 'Enter' ? '\r' : '');
  send({key: kind === 'up' ? 'up' : (typed ? 'down' : 'raw'), name: event.key, code: event.code, number: event.keyCode,
    text: kind === 'up' ? '' : typed, modifiers: modifiers(event)});
  event.preventDefault();
};
screen.addEventListener('keydown', event => key('down', event));
screen.addEventListener('keyup', event => key('up', event));
screen.addEventListener('paste', event => {
  for (const char of event.clipboardData.getData('text')) { send({key: 'down', name: char, text: char}); send({key: 'up', name: char}); }
  event.preventDefault();
});
document.getElementById('reload').onclick = () => send({do: 'reload'});
document.getElementById('done').onclick = () => { send({done: true}); document.getElementById('then').hidden = false; fit(); };
