// A well-written Node upload server: busboy, SHA-256 while it streams, rename to the hash.
//   node busboy.mjs PORT FOLDER relaxed|durable|named|rows [each]
// relaxed: no sync. durable: fsync of the file before the rename. named: fsync of the folder behind it too (without, the name may
// be gone after a power cut). rows: a row in SQLite (WAL, synchronous FULL) as well; this is what kervan's 201 means.
// One folder sync and one transaction serve all uploads that wait for one; "each" gives every upload its own.
import http from 'node:http';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import busboy from 'busboy';

const [port, folder, mode, each] = process.argv.slice(2);
const rank = ['relaxed', 'durable', 'named', 'rows'].indexOf(mode);
if (rank < 0) throw new Error(`unknown mode ${mode}`);
const [durable, named, rows] = [rank > 0, rank > 1, rank > 2];
const folderFd = fs.openSync(folder, 'r');
const media = rows ? await openRows() : null;
let serial = 0;

async function openRows() {
  const { default: Database } = await import('better-sqlite3');
  const db = new Database(path.join(folder, 'rows.db'));
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  db.exec(`CREATE TABLE media(id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
           folder TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL)`);
  const insert = db.prepare("INSERT INTO media(hash, size, folder, name, created) VALUES(?, ?, 'bench', ?, ?)");
  return db.transaction((list) => {
    for (const { digest, size, name } of list) insert.run(digest, size, name, Date.now());
  });
}

// Runs work(list, done) for all that came while it ran before; done(error) answers every one of them.
function gathered(work) {
  let waiting = [];
  let running = false;
  const next = () => {
    if (waiting.length === 0) return;
    const list = each ? waiting.splice(0, 1) : waiting;
    if (!each) waiting = [];
    running = true;
    work(list.map((w) => w.item), (error) => {
      running = false;
      for (const w of list) w.done(error);
      next();
    });
  };
  return (item, done) => {
    waiting.push({ item, done });
    if (!running) next();
  };
}

const syncFolder = gathered((_list, done) => fs.fsync(folderFd, done));
const addRows = gathered((list, done) => setImmediate(() => {
  try {
    media(list);
    done(null);
  } catch (error) {
    done(error);
  }
}));

function finish(upload, done) {
  const record = () => (rows ? addRows(upload, (e) => done(e, upload)) : done(null, upload));
  fs.close(upload.fd, () => fs.rename(upload.temp, path.join(folder, upload.digest), (e) => {
    if (e) done(e);
    else if (!named) record();
    else if (each) fs.fsync(folderFd, (e2) => (e2 ? done(e2) : record()));
    else syncFolder(upload, (e2) => (e2 ? done(e2) : record()));
  }));
}

function save(stream, name, done) {
  const temp = path.join(folder, `tmp-${serial++}`);
  const hash = crypto.createHash('sha256');
  fs.open(temp, 'wx', 0o644, (error, fd) => {
    if (error) return done(error);
    const out = fs.createWriteStream(temp, { fd, autoClose: false, highWaterMark: 1 << 20 });
    stream.on('data', (chunk) => hash.update(chunk));
    stream.pipe(out);
    out.on('error', done);
    out.on('finish', () => {
      const upload = { fd, temp, name, digest: hash.digest('hex'), size: out.bytesWritten };
      if (durable) fs.fsync(fd, (e) => (e ? done(e) : finish(upload, done)));
      else finish(upload, done);
    });
  });
}

http.createServer((request, response) => {
  let answered = false;
  const answer = (error, upload) => {
    if (answered) return;
    answered = true;
    response.writeHead(error ? 500 : 201, { 'content-type': 'application/json' });
    response.end(JSON.stringify(error ? { error: String(error) } : { hash: upload.digest }));
  };
  const parser = busboy({ headers: request.headers, limits: { files: 1 }, fileHwm: 1 << 20 });
  parser.on('file', (_field, stream, info) => save(stream, info.filename, answer));
  parser.on('error', answer);
  request.pipe(parser);
}).listen(Number(port), '127.0.0.1');
