/** The page at `/`: what the service offers, from /openapi.json, and a form to try each method. */
export const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Talkwire</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
  details { border-top: 1px solid #8886; padding: .5rem 0 }
  summary { cursor: pointer; font-weight: 600 }
  textarea, input, pre { width: 100%; box-sizing: border-box; font: 14px/1.4 ui-monospace, monospace }
  textarea { min-height: 6rem }
  pre { overflow: auto; max-height: 30rem; padding: .5rem; background: #8882 }
  button { font: inherit; margin: .5rem .5rem .5rem 0 }
</style>
<h1>…</h1>
<label>Token <input id="token" type="password" autocomplete="off" placeholder="as the service printed it"></label>
<p id="problem" role="alert"></p>
<main></main>
<script>
  const token = document.querySelector('#token')
  const problem = document.querySelector('#problem')
  token.value = new URLSearchParams(location.hash.slice(1)).get('token') ?? ''
  const headers = () => (token.value ? { authorization: 'Bearer ' + token.value } : {})
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties)
    element.append(...children)
    return element
  }
  async function load() {
    const response = await fetch('/openapi.json', { headers: headers() })
    const document_ = await response.json()
    problem.textContent = response.ok ? '' : document_.detail
    if (!response.ok) return
    document.title = document.querySelector('h1').textContent = document_.info.title + ' ' + document_.info.version
    document.querySelector('main').replaceChildren(...Object.entries(document_.paths).map(([path, item]) => method(path, item, document_)))
  }
  function method(path, item, document_) {
    const operation = item.post ?? item.get
    const types = Object.entries(operation.requestBody?.content ?? {})
    const [type, { schema } = {}] = types[0] ?? []
    const body = make('textarea', { value: type ? example(schema, document_) : '', spellcheck: false, ariaLabel: 'input as JSON' })
    const output = make('pre', { ariaLive: 'polite' })
    let stop = new AbortController()
    const run = async () => {
      stop.abort()
      stop = new AbortController()
      output.textContent = ''
      try {
        const response = await fetch(path, {
          method: item.post ? 'POST' : 'GET',
          headers: { ...headers(), ...(type && { 'content-type': type }) },
          ...(type && { body: body.value }),
          signal: stop.signal,
        })
        output.textContent = response.status + ' ' + (response.headers.get('content-type') ?? '') + '\\n'
        const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
        for (let part = await reader?.read(); part && !part.done; part = await reader.read()) output.append(part.value)
      } catch (reason) {
        if (reason.name !== 'AbortError') output.append(String(reason))
      }
    }
    return make('details', {},
      make('summary', { textContent: operation.operationId + (operation.summary ? ' (' + operation.summary + ')' : '') }),
      make('pre', { textContent: JSON.stringify(operation, null, 2) }),
      ...(type ? [body] : []),
      make('button', { textContent: 'Call', onclick: run }),
      make('button', { textContent: 'Stop', onclick: () => stop.abort() }),
      output)
  }
  function example(schema, document_, depth = 0) {
    return JSON.stringify(value(schema, document_, depth), null, 2)
  }
  function value(schema, document_, depth) {
    if (schema === true || schema === undefined || depth > 5) return null
    if (schema.$ref) return value(schema.$ref.slice(2).split('/').reduce((at, key) => at?.[key], document_), document_, depth + 1)
    if ('const' in schema) return schema.const
    if (schema.enum) return schema.enum[0]
    const type = [schema.type].flat()[0]
    if (type === 'object' || schema.properties)
      return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, value(inner, document_, depth + 1)]))
    if (schema.anyOf ?? schema.oneOf) return value((schema.anyOf ?? schema.oneOf)[0], document_, depth + 1)
    return type === 'array' ? [] : type === 'string' ? '' : type === 'boolean' ? false : type === 'null' ? null : 0
  }
  token.addEventListener('change', load)
  load()
</script>
</html>
`
