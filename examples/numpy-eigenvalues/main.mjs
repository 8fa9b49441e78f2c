// NumPy computes the eigenvalues of a matrix that JavaScript has: node main.mjs [size]
import { fileURLToPath } from 'node:url'
import { connect, ndarray } from 'talkwire'

const here = fileURLToPath(new URL('.', import.meta.url))
const python = process.env['PYTHON'] ?? 'python3'

/** What eigen.py has. @typedef {{ eigenvalues(matrix: import('talkwire').NdArray<Float64Array>): Float64Array }} Eigen */
/** @type {import('talkwire').FunctionsClient<Eigen>} */
const eigen = await connect(`spawn:'${python}' -m talkwire serve eigen.py`, { cwd: here })

// A chain of n equal masses and springs: 2 on the diagonal, -1 beside it.
const n = Number(process.argv[2] ?? 5)
const matrix = ndarray(new Float64Array(n * n), [n, n])
for (let i = 0; i < n; i++) {
  matrix[i * n + i] = 2
  if (i > 0) matrix[i * n + i - 1] = matrix[(i - 1) * n + i] = -1
}

const values = await eigen.eigenvalues(matrix)

// For this matrix the eigenvalues are known: 2 - 2 cos(kπ / (n + 1)).
const errors = values.map((value, k) => Math.abs(value - (2 - 2 * Math.cos(((k + 1) * Math.PI) / (n + 1)))))
console.log(`${matrix.byteLength} bytes there, a ${values.constructor.name} of ${values.length} back`)
console.log(`eigenvalues: ${Array.from(values.slice(0, 8), (value) => value.toFixed(6)).join(' ')}${n > 8 ? ' …' : ''}`)
console.log(`largest error: ${Math.max(...errors) < 1e-12 ? 'less than 1e-12' : Math.max(...errors)}`)

await eigen.close()
