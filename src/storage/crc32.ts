/** CRC-32 in the forms S3 wants; a whole file's checksum from those of its parts. */
import { crc32 } from 'node:zlib';

export { crc32 };

/** Base64 of the four big-endian bytes, as in `x-amz-checksum-crc32`. */
export function crc32Header(checksum: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(checksum >>> 0);
  return bytes.toString('base64');
}

const polynomial = 0xedb88320;

/**
 * CRC of A followed by B, from the CRC of each and B's length: A's CRC is shifted by 8·length zero bits, which is a
 * multiplication by x^(8·length) modulo the polynomial (zlib's crc32_combine, bits reflected).
 */
export function combineCrc32(first: number, second: number, secondBytes: number): number {
  return (multiply(powerOfX(secondBytes * 8), first) ^ second) >>> 0;
}

/** x^exponent by repeated squaring; exponents may exceed 32 bits. */
function powerOfX(exponent: number): number {
  let result = 0x80000000;
  let square = 0x40000000;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = multiply(square, result);
    square = multiply(square, square);
  }
  return result;
}

function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let bit = 31; bit >= 0; bit -= 1) {
    if ((a >>> bit) & 1) product ^= shifted;
    shifted = shifted & 1 ? (shifted >>> 1) ^ polynomial : shifted >>> 1;
  }
  return product >>> 0;
}
