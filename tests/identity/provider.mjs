// An OpenID Connect provider for the test beside this file, which runs it in the folder where its package is installed.
//
// Its first argument is JSON: `certificate` and `key` for TLS (DER in base64), and whether access
// tokens are `named` (have a `kid`). It prints its issuer when it is ready. For each line that it reads it changes its
// keys, and prints a line when it has. It ends with its standard input, and so with the test.

import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

const { certificate, key, named } = JSON.parse(process.argv[1]);

// What is only for tests is used here on purpose, and standard output is for the test.
console.info = console.warn = () => {};

const newKeys = () => [
  generateKeyPairSync('rsa', { modulusLength: 2048 }),
  generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  generateKeyPairSync('ed25519'),
].map(({ privateKey }) => privateKey.export({ format: 'jwk' }));

function newProvider(issuer) {
  const provider = new Provider(issuer, {
    jwks: { keys: newKeys() },
    clients: [
      {
        client_id: 'machine',
        client_secret: 'secret',
        token_endpoint_auth_method: 'client_secret_post',
        grant_types: ['client_credentials'],
        response_types: [],
        redirect_uris: [],
      },
      {
        client_id: 'web',
        token_endpoint_auth_method: 'none',
        redirect_uris: ['https://app.example/signed-in'],
      },
    ],
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        // A resource is named urn:<audience>:<algorithm>.
        getResourceServerInfo: (_context, resource) => {
          const [, audience, alg] = resource.split(':');
          return {
            audience,
            scope: 'messages.read messages.write',
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg } },
          };
        },
      },
    },
    formats: {
      customizers: {
        jwt: (_context, _token, parts) => {
          if (!named) parts.header = { kid: undefined };
        },
      },
    },
  });
  provider.on('server_error', (_context, error) => console.error(error));
  return provider.callback();
}

const pem = { format: 'pem', type: 'pkcs8' };
const server = createServer({
  cert: new X509Certificate(Buffer.from(certificate, 'base64')).toString(),
  key: createPrivateKey({ key, encoding: 'base64', format: 'der', type: 'pkcs8' }).export(pem),
});
server.listen(0, '127.0.0.1', () => {
  const issuer = `https://127.0.0.1:${server.address().port}`;
  let respond = newProvider(issuer);
  server.on('request', (request, response) => respond(request, response));
  console.log(issuer);
  createInterface({ input: process.stdin })
    .on('line', () => {
      respond = newProvider(issuer);
      console.log('changed');
    })
    .on('close', () => process.exit());
});
