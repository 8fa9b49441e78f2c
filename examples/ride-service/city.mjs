// A small city: places, and the kilometres between them. All streets go both ways; no street leads to the island.
/** @type {Record<string, Record<string, number>>} */
export const city = {
  station: { market: 1.2, museum: 0.8 },
  market: { station: 1.2, bridge: 0.9, park: 2.1 },
  museum: { station: 0.8, bridge: 1.9, theatre: 1.4 },
  bridge: { market: 0.9, museum: 1.9, harbour: 1.7, park: 0.6 },
  park: { market: 2.1, bridge: 0.6, stadium: 1.1 },
  theatre: { museum: 1.4, harbour: 2.5 },
  harbour: { bridge: 1.7, theatre: 2.5, airport: 6.4 },
  stadium: { park: 1.1, airport: 5.2 },
  airport: { harbour: 6.4, stadium: 5.2 },
  island: {},
}
