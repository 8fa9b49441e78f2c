import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runInThisContext } from 'node:vm'
import { parameterNames } from '../../src/contract/parameters.js'

/** As source, so that neither the compiler nor the formatter touches it. */
const names = (source: string): readonly string[] | undefined =>
  parameterNames(runInThisContext(`(${source})`) as (...args: never[]) => unknown)
const method = (source: string): readonly string[] | undefined =>
  parameterNames(Object.values(runInThisContext(`({ ${source} })`) as Record<string, (...args: never[]) => unknown>)[0]!)

test('plain functions of every form', () => {
  assert.deepEqual(names('(a, b) => a'), ['a', 'b'])
  assert.deepEqual(names('a => a'), ['a'])
  assert.deepEqual(names('async a => a'), ['a'])
  assert.deepEqual(names('async=>async'), ['async'])
  assert.deepEqual(names('async (a, b) => a'), ['a', 'b'])
  assert.deepEqual(names('function (a) {}'), ['a'])
  assert.deepEqual(names('async function* many(a,\n  b,\n) {}'), ['a', 'b'])
  assert.deepEqual(names('() => 1'), [])
  assert.deepEqual(method('add(a, b) {}'), ['a', 'b'])
  assert.deepEqual(method('async *stream(größe, $x) {}'), ['größe', '$x'])
  assert.deepEqual(method('[Symbol.name](a) {}'), ['a'])
})

test('defaults, rests, and what is taken apart', () => {
  assert.deepEqual(names(`(a = 1, b = 'x, y)', c = "(", d = [1, 2], e = { f: (g, h) => g }, i = a >= 1) => 1`), [
    'a',
    'b',
    'c',
    'd',
    'e',
    'i',
  ])
  assert.deepEqual(names('(a, ...rest) => 1'), ['a', '...rest'])
  assert.deepEqual(names('({ a, b }, [c, d], e, { f } = {}, ...[g]) => 1'), ['arg1', 'arg2', 'e', 'arg4', 'arg5'])
})

test('what is unusual is given up', () => {
  for (const source of [
    '(a /* first */, b) => 1',
    '(a, // first\n b) => 1',
    'function /* ( */ f(a) {}',
    '(a = /[)]/, b) => 1',
    '(a = `${")"}`, b) => 1',
    "(a = 'it\\'s', b) => 1",
    `(${'a'.repeat(3_000)}, b) => 1`,
    'class A { constructor(a) {} }',
  ])
    assert.equal(names(source), undefined, source.slice(0, 60))
  assert.equal(method(`'a(b'(c) {}`), undefined)
  assert.equal(parameterNames(Math.max), undefined)
  assert.equal(parameterNames(((a: number) => a).bind(undefined)), undefined)
})
