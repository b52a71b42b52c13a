async ({most, deepest}) => {
  const plain = ['Date', 'RegExp', 'Error', 'Map', 'Set', 'Array', 'Object', 'ArrayBuffer', 'Int8Array', 'Uint8Array',
    'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array', 'Float32Array', 'Float64Array',
    'BigInt64Array', 'BigUint64Array'];
  class Found extends Error {}
  const found = word => { const error = new Found(); error.word = word; throw error; };
  let weight = 0;
  const add = bytes => { weight += bytes; if (weight > most) found('many'); };
  const text = value => {
    add(value.length); add(5 * value.replace(/[ -~]+/g, '').length);  // any other letter takes six
  };
  const kind = value => Object.prototype.toString.call(value).slice(8, -1);
  const weigh = (value, depth, seen) => {
    add(16);
    if (typeof value === 'string') return text(value);
    if (typeof value === 'bigint') return text(value.toString());
    if (Object.is(value, -0)) found('kind');
    if (value === null || typeof value !== 'object') return;
    if (depth > deepest) found('nesting');
    const name = kind(value), buffer = ArrayBuffer.isView(value) ? value.buffer : value;
    if (!plain.includes(name)) found('kind');
    if (seen.has(value)) return;
    seen.add(value);
    if (buffer instanceof ArrayBuffer) {
      // A part of a buffer, or one that is shared, would become a whole of its own.
      if (buffer.resizable || buffer.byteLength !== value.byteLength || (buffer !== value && seen.has(buffer)))
        found('kind');
      seen.add(buffer);
      return add(buffer.byteLength * 4 / 3);
    }
    if (name === 'Date') { if (isNaN(value)) found('kind'); return; }
    if (name === 'RegExp') return text(value.source);
    if (name === 'Error') { if ('cause' in value) found('kind'); text(value.message); return text(value.stack || ''); }
    if (name === 'Map') {
      for (const pair of value) { weigh(pair[0], depth + 1, seen); weigh(pair[1], depth + 1, seen); }
    } else if (name === 'Set') {
      for (const one of value) weigh(one, depth + 1, seen);
    } else {
      const names = Object.keys(value);
      if (name === 'Array' && names.length !== value.length) found('kind');  // a hole
      for (const one of names) {
        if (one === '__proto__' || (name === 'Array' && !/^[0-9]+$/.test(one))) found('kind');
        if (name !== 'Array') text(one);
        weigh(value[one], depth + 1, seen);
      }
    }
  };
  const asked = request => new Promise((done, failed) => {
    request.onsuccess = () => done(request.result); request.onerror = () => failed(request.error); });
  const records = (store, each) => new Promise((done, failed) => {
    const request = store.openCursor();
    request.onerror = () => failed(request.error);
    request.onsuccess = () => {
      const cursor = request.result;
      if (!cursor) return done();
      try { each(cursor); cursor.continue(); } catch (error) { failed(error); }
    };
  });
  try {
    for (const storage of [localStorage, sessionStorage])
      for (const [name, value] of Object.entries(storage)) { add(32); text(name); text(value); }
    for (const info of await indexedDB.databases()) {
      const db = await asked(indexedDB.open(info.name));
      add(64); text(info.name);
      try {
        for (const name of db.objectStoreNames) {
          add(64); text(name);
          await records(db.transaction(name).objectStore(name), cursor => {
            weigh(cursor.primaryKey, 0, new Set()); weigh(cursor.value, 0, new Set());
          });
        }
      } finally { db.close(); }
    }
  } catch (error) {
    if (error instanceof Found) return {word: error.word};
    throw error;
  }
  return {weight: Math.ceil(weight)};
}
