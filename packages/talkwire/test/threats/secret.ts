/** In the victim's errors; must never be on the wire. */
export const SECRET = 'correct-horse-battery-staple'
