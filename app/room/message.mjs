// What the server sends of one image: a length, a JSON header of that length, levels, and tables. Pure.

export function unpacked(buffer) {
  const length = new DataView(buffer, 0, 4).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let place = 4 + length;
  const taken = (Kind, count) => {
    const part = new Kind(buffer, place, count);
    place += part.byteLength;
    place += (4 - (place % 4)) % 4;
    return part;
  };
  const levels = taken(Uint16Array, header.size.rows * header.size.columns);
  const modality = taken(Float32Array, header.count);
  const tables = header.tables.map((name) => ({ name, table: taken(Uint16Array, header.count) }));
  return { ...header, levels, modality, ways: [...header.windows, ...tables] };
}
