// Mean SSIM (luma, 8x8 windows, stride 4) of variants against the photograph reduced by Lanczos. REFERENCE FILE... ; prints {file: ssim}
import sharp from 'sharp';

const [reference, ...files] = process.argv.slice(2);

async function luma(image) {
  const { data, info } = await image.greyscale().raw().toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height, step: info.channels };
}

function ssim(a, b) {
  const C1 = 6.5025, C2 = 58.5225;
  let sum = 0, n = 0;
  for (let y = 0; y + 8 <= a.height; y += 4) {
    for (let x = 0; x + 8 <= a.width; x += 4) {
      let ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
      for (let j = 0; j < 8; j++) {
        for (let i = 0; i < 8; i++) {
          const p = a.data[((y + j) * a.width + x + i) * a.step], q = b.data[((y + j) * b.width + x + i) * b.step];
          ma += p; mb += q; aa += p * p; bb += q * q; ab += p * q;
        }
      }
      ma /= 64; mb /= 64;
      const va = aa / 64 - ma * ma, vb = bb / 64 - mb * mb, cov = ab / 64 - ma * mb;
      sum += ((2 * ma * mb + C1) * (2 * cov + C2)) / ((ma * ma + mb * mb + C1) * (va + vb + C2));
      n++;
    }
  }
  return sum / n;
}

const out = {};
for (const file of files) {
  const variant = await luma(sharp(file));
  const original = await luma(sharp(reference).rotate().resize(variant.width, variant.height, { fit: 'fill' }));
  out[file] = ssim(original, variant);
}
console.log(JSON.stringify(out));
