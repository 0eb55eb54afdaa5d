// A well-written Node upload server: busboy, SHA-256 while it streams, fsync, rename. PORT FOLDER durable|relaxed
import http from 'node:http';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import busboy from 'busboy';

const [port, folder, mode] = process.argv.slice(2);
const durable = mode === 'durable';
let serial = 0;

function save(stream, done) {
  const temp = path.join(folder, `tmp-${serial++}`);
  const hash = crypto.createHash('sha256');
  fs.open(temp, 'w', 0o644, (error, fd) => {
    if (error) return done(error);
    const out = fs.createWriteStream(temp, { fd, autoClose: false, highWaterMark: 1 << 20 });
    stream.on('data', (chunk) => hash.update(chunk));
    stream.pipe(out);
    out.on('error', done);
    out.on('finish', () => {
      const digest = hash.digest('hex');
      const close = () => fs.close(fd, () => fs.rename(temp, path.join(folder, digest), (e) => done(e, digest)));
      if (durable) fs.fsync(fd, (e) => (e ? done(e) : close()));
      else close();
    });
  });
}

http.createServer((request, response) => {
  let answered = false;
  const answer = (error, digest) => {
    if (answered) return;
    answered = true;
    response.writeHead(error ? 500 : 201, { 'content-type': 'application/json' });
    response.end(JSON.stringify(error ? { error: String(error) } : { hash: digest }));
  };
  const parser = busboy({ headers: request.headers, limits: { files: 1 }, fileHwm: 1 << 20 });
  parser.on('file', (_name, stream) => save(stream, answer));
  parser.on('error', answer);
  request.pipe(parser);
}).listen(Number(port), '127.0.0.1');
