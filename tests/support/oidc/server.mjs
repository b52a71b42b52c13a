// A certified OpenID provider (oidc-provider) on loopback, with rotation of refresh tokens and detection of their reuse.
// It prints its port. Consent is given by whoever asks: the login page is what is not under test.
import http from 'node:http'
import process from 'node:process'
import { Provider } from 'oidc-provider'

const redirect = process.argv[2]
const server = http.createServer()
await new Promise((ready) => server.listen(0, '127.0.0.1', ready))
const base = `http://127.0.0.1:${server.address().port}`

const provider = new Provider('https://oidc.x.com', {
  clients: [{
    client_id: 'app',
    client_secret: process.env.OIDC_CLIENT_SECRET,
    redirect_uris: [redirect],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    application_type: 'native',
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  cookies: { keys: ['made-up-cookie-key'] },
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'] },
  scopes: ['openid', 'profile', 'offline_access'],
  features: { devInteractions: { enabled: false }, revocation: { enabled: true }, userinfo: { enabled: true } },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (ctx, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  ttl: { AccessToken: 600, AuthorizationCode: 30, RefreshToken: 3600, Grant: 3600, Session: 3600, Interaction: 600, IdToken: 600 },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: async (ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, name: 'Acme Bakery', preferred_username: 'acme.bakery' }),
  }),
})
provider.on('server_error', (ctx, error) => process.stderr.write(`${error.stack}\n`))
const answer = provider.callback()

server.on('request', async (req, res) => {
  req.url = req.url.replace(/^\/oidc\.x\.com\//, '/') // the client puts the host before the path, as for a simulator
  if (!req.url.startsWith('/interaction/')) return answer(req, res)
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res)
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: 'account-1' } })
  }
  const grant = grantId ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
  grant.addOIDCScope(params.scope)
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true })
})
process.stdout.write(`${base}\n`)
process.stdin.on('end', () => process.exit(0))
process.stdin.resume()
