// The certified OpenID provider (npm oidc-provider) on loopback, with three people whose password is their name and "-pw".
// node oidc-provider.mjs FOLDER_OF_NODE_MODULES PORT REDIRECT_URI
// POST /test/user {"name", "groups"?, "gone"?} changes a person while it runs.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [parts, port, redirect] = process.argv.slice(2);
const entry = createRequire(`${parts}/`).resolve("oidc-provider");
const { Provider } = await import(pathToFileURL(entry));
const issuer = `http://127.0.0.1:${port}`;

const people = Object.fromEntries(
  [["alice", ["ml-admins"]], ["bob", ["ml-engineers"]], ["carol", []]].map(([name, groups]) => [
    name,
    { groups, email: `${name}@example.test`, email_verified: name !== "carol", name: name.toUpperCase(), preferred_username: name },
  ]),
);

const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const grantAll = async (grant) => {
  grant.addOIDCScope("openid offline_access profile email groups");
  return grant.save();
};
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "gateway",
      client_secret: "gateway-secret-0123456789abcdef",
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: [redirect],
      post_logout_redirect_uris: [new URL("/auth/signed-out", redirect).href],
      backchannel_logout_uri: new URL("/auth/oidc/corp/backchannel-logout", redirect).href,
      backchannel_logout_session_required: true,
    },
  ],
  jwks: { keys: [{ ...key, use: "sig", alg: "RS256", kid: "one" }] },
  scopes: ["openid", "offline_access", "profile", "email", "groups"],
  claims: { openid: ["sub"], profile: ["name", "preferred_username"], email: ["email", "email_verified"], groups: ["groups"] },
  // Claims in the ID token too, as Keycloak and Dex have them.
  conformIdTokenClaims: process.env.CLAIMS_ONLY_IN_USERINFO === "yes",
  cookies: { keys: ["test"] },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: async (ctx, client, code) => code.scopes.has("offline_access"),
  features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true } },
  // Its own way out refuses loopback, where the gateway of a test is.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount: (ctx, id) =>
    people[id]?.gone === undefined && people[id] ? { accountId: id, claims: () => ({ sub: id, ...people[id] }) } : undefined,
  loadExistingGrant: async (ctx) => {
    const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    await grantAll(grant);
    return grant;
  },
});

const text = (request) =>
  new Promise((done) => {
    let all = "";
    request.on("data", (part) => (all += part)).on("end", () => done(all));
  });

createServer(async (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  if (pathname === "/test/user") {
    const { name, ...change } = JSON.parse(await text(request));
    Object.assign(people[name], change);
    response.end("ok");
    return;
  }
  if (!/^\/interaction\/[\w-]+$/.test(pathname)) {
    provider.callback()(request, response);
    return;
  }
  try {
    if (request.method === "POST") {
      const form = new URLSearchParams(await text(request));
      const name = form.get("username");
      if (people[name] && form.get("password") === `${name}-pw`) {
        await provider.interactionFinished(request, response, { login: { accountId: name } });
        return;
      }
      response.statusCode = 401;
    } else {
      const { prompt, params, session } = await provider.interactionDetails(request, response);
      if (prompt.name === "consent") {
        const grant = new provider.Grant({ clientId: params.client_id, accountId: session.accountId });
        const grantId = await grantAll(grant);
        await provider.interactionFinished(request, response, { consent: { grantId } }, { mergeWithLastSubmission: true });
        return;
      }
    }
    response.setHeader("content-type", "text/html");
    response.end(`<form method="post"><input name="username"><input name="password" type="password"><button>Sign in</button></form>`);
  } catch (error) {
    response.statusCode = 400;
    response.end(String(error));
  }
}).listen(Number(port), "127.0.0.1");
