"""The server of a project without a dev server: its folder over HTTP, in plain Node.

It runs inside the container with `node -e`, from the project's directory, and reads HOST and PORT.
A folder is answered by its index.html; a page route that is no file by the top index.html, as
single-page apps expect.
"""

STATIC_SERVER = r"""
const fs = require('fs'), http = require('http'), path = require('path');
const root = process.cwd();
const types = {
  html: 'text/html', htm: 'text/html', css: 'text/css', js: 'text/javascript',
  mjs: 'text/javascript', json: 'application/json', map: 'application/json', txt: 'text/plain',
  md: 'text/plain', csv: 'text/csv', xml: 'application/xml', svg: 'image/svg+xml',
  png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg', gif: 'image/gif', webp: 'image/webp',
  avif: 'image/avif', ico: 'image/x-icon', woff: 'font/woff', woff2: 'font/woff2', ttf: 'font/ttf',
  mp3: 'audio/mpeg', wav: 'audio/wav', mp4: 'video/mp4', webm: 'video/webm',
  wasm: 'application/wasm', webmanifest: 'application/manifest+json', pdf: 'application/pdf',
};
const textual = /^text\/|json|xml|javascript/;
function find(pathname) {
  const wanted = path.join(root, path.posix.normalize('/' + pathname));
  const tries = [wanted, path.join(wanted, 'index.html'), wanted + '.html'];
  if (!path.extname(wanted)) tries.push(path.join(root, 'index.html'));
  return tries.find((name) => fs.statSync(name, { throwIfNoEntry: false })?.isFile());
}
function fail(response, status, text) {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(text + '\n');
}
const server = http.createServer((request, response) => {
  if (request.method !== 'GET' && request.method !== 'HEAD') return fail(response, 405, 'GET only');
  let name;
  try {
    name = find(decodeURIComponent(request.url.split(/[?#]/)[0]));
  } catch (error) {
    return fail(response, 400, 'bad path');
  }
  if (!name) return fail(response, 404, 'not found');
  const type = types[path.extname(name).slice(1).toLowerCase()] || 'application/octet-stream';
  const file = fs.createReadStream(name);
  file.on('error', () => {
    if (response.headersSent) response.destroy(); else fail(response, 500, 'unreadable');
  });
  file.on('open', () => {
    response.writeHead(200, {
      'content-type': type + (textual.test(type) ? '; charset=utf-8' : ''),
      'cache-control': 'no-cache',
    });
    if (request.method === 'HEAD') { file.destroy(); response.end(); } else { file.pipe(response); }
  });
});
server.listen(Number(process.env.PORT), process.env.HOST, () => {
  console.log('serving this folder on port ' + process.env.PORT);
});
"""
