// A certified OpenID provider (oidc-provider) on loopback at which people sign in by its own pages; any password will do.
// It prints its address. A line of standard input, `NAME group group`, says the groups of somebody from then on.
import http from 'node:http'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { Provider } from 'oidc-provider'

const groups = new Map()
const server = http.createServer()
await new Promise((ready) => server.listen(0, '127.0.0.1', ready))
const base = `http://127.0.0.1:${server.address().port}`

const provider = new Provider(base, {
  clients: [{
    client_id: 'byokeep',
    client_secret: process.env.OIDC_CLIENT_SECRET,
    redirect_uris: [process.argv[2]],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  cookies: { keys: ['made-up-cookie-key'] },
  claims: { openid: ['sub', 'groups'] },
  scopes: ['openid'],
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  ttl: { AccessToken: 600, AuthorizationCode: 30, Grant: 3600, Session: 3600, Interaction: 600, IdToken: 600 },
  loadExistingGrant: async (ctx) => {
    const grant = new provider.Grant({ accountId: ctx.oidc.session.accountId, clientId: ctx.oidc.client.clientId })
    grant.addOIDCScope('openid')
    await grant.save()
    return grant
  },
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id, groups: groups.get(id) ?? [] }) }),
})
provider.on('server_error', (ctx, error) => process.stderr.write(`${error.stack}\n`))
server.on('request', provider.callback())
process.stdout.write(`${base}\n`)
const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => { const [name, ...of] = line.split(' '); groups.set(name, of); process.stdout.write('said\n') })
lines.on('close', () => process.exit(0))
