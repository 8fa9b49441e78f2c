/** What the server answers; its body is read to the end: one that nobody reads keeps the connection, and that keeps the process. */
export async function statusOf(...request: Parameters<typeof fetch>): Promise<number> {
  const response = await fetch(...request)
  await response.arrayBuffer()
  return response.status
}
