// The same seven variants by sharp, two photographs at a time. FOLDER OUT FILE... ; prints {"cpu","wall","rss","files":{name:{variant:bytes}}}
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';

const [out, avifEffort, ...files] = process.argv.slice(2);
sharp.cache(false);
const result = {};

async function one(file) {
  const name = path.basename(file);
  const image = () => sharp(file, { failOn: 'error' }).rotate();
  const { width, height, orientation } = await sharp(file).metadata();
  const full = orientation >= 5 ? height : width;
  result[name] = {};
  const write = async (pipeline, key) => {
    const data = await pipeline.toBuffer();
    result[name][key] = data.length;
    await fs.promises.writeFile(path.join(out, `${name}.${key}`), data);
  };
  await write(image().webp({ quality: 80, effort: 4 }), 'full.webp');
  for (const w of [1280, 640, 320].filter((w) => w <= full)) {
    await write(image().resize(w).webp({ quality: 80, effort: 4 }), `${w}.webp`);
    await write(image().resize(w).avif({ quality: 50, effort: Number(avifEffort), chromaSubsampling: '4:2:0' }), `${w}.avif`);
  }
}

const queue = [...files];
const began = process.hrtime.bigint();
await Promise.all([0, 1].map(async () => {
  for (let f = queue.shift(); f; f = queue.shift()) await one(f);
}));
const { user, system } = process.cpuUsage();
const rss = Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
console.log(JSON.stringify({ cpu: (user + system) / 1e6, wall: Number(process.hrtime.bigint() - began) / 1e9, rss, files: result }));
