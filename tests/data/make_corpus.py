#!/usr/bin/env python3
"""Writes the corpus of good and broken data files (tests/data/corpus) that tests/core/read_regression_data_test.cc
expects outcomes of and the fuzzers start from. Standard library only; the same bytes on every run.

    python3 tests/data/make_corpus.py
"""
import gzip
import pathlib
import struct
import zlib

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"

CSV = {
    "plain": b"a,b,y\n1,2,3\n4,5,6\n7,8,10\n",
    "byte_order_mark": b"\xef\xbb\xbfa,b,y\n1,2,3\n4,5,6\n",
    "crlf": b"a,b,y\r\n1,2,3\r\n4,5,6\r\n",
    "missing_final_newline": b"a,b,y\n1,2,3\n4,5,6",
    "trailing_blank_lines": b"a,b,y\n1,2,3\n4,5,6\n\n \t\r\n\n",
    "quoted_fields": b'"a, with comma","say ""b""",y\n"1",2,"3"\n4,"5" , 6\n',
    "quoted_newline_in_name": b'"a\nb",y\n1,2\n',
    "quoted_newline_in_field": b'a,y\n1,2\n"3\n",4\n',
    "spaces_around_numbers": b"a , b,\ty\n 1, 2 ,3\t\n4,5,6\n",
    "spaces_inside_quotes": b'a,y\n1,2\n" 3",4\n',
    "one_row": b"a,b,y\n1,2,3\n",
    "constant_column": b"a,b,y\n1,7,3\n4,7,6\n5,7,1\n",
    "exact_collinearity": b"a,b,y\n1,2,3\n4,8,6\n5,10,1\n",
    "number_forms": b"a,b,c,d,e,y\n+1.5,-0,.5,5.,1e-400,5e-324\n-1E+3,2.2250738585072014e-308,0x,1,1,1\n",
    "number_forms_good": b"a,b,c,d,e,f,y\n+1.5,-0,.5,5.,1e-400,5e-324,-1E+3\n",
    "utf8_names": "größe,房间数,y\n1,2,3\n4,5,6\n".encode(),
    "integer_of_300_digits": b"a,y\n1,2\n" + b"9" * 300 + b",3\n",
    "integer_of_400_digits": b"a,y\n1,2\n" + b"9" * 400 + b",3\n",
    "field_of_5000_digits": b"a,y\n1,2\n0." + b"3" * 5000 + b",3\n",
    "nan": b"a,b,y\n1,2,3\n4,nan,6\n",
    "infinite": b"a,b,y\n1,2,3\n4,5,-inf\n",
    "beyond_double": b"a,b,y\n1e999,2,3\n4,5,6\n",
    "hexadecimal": b"a,b,y\n1,2,3\n4,0x1F,6\n",
    "text": b"a,b,y\n1,2,3\n4,5,six\n",
    "empty_field": b"a,b,y\n1,2,3\n4,,6\n",
    "empty_last_field": b"a,b,y\n1,2,3\n4,5,\n",
    "formula_field": b"a,b,y\n1,=cmd|' /C calc'!A0,3\n",
    "formula_name": b"a,=cmd|' /C calc'!A0,y\n1,2,3\n",
    "decimal_comma": b'a,b,y\n1,2,3\n"4,5",5,6\n',
    "semicolons": b"a;b;y\n1,5;2,5;3,5\n",
    "thousands_separators": b'a,y\n1,2\n"1,234,567",3\n',
    "ragged_short": b"a,b,y\n1,2,3\n4,5\n7,8,9\n",
    "ragged_long": b"a,b,y\n1,2,3\n4,5,6,7\n",
    "empty": b"",
    "only_byte_order_mark": b"\xef\xbb\xbf",
    "only_newlines": b"\n\n\n",
    "header_only": b"a,b,y\n",
    "header_only_no_newline": b"a,b,y",
    "header_missing": b"1,2,3\n4,5,6\n",
    "blank_line_between_rows": b"a,b,y\n1,2,3\n\n\n4,5,6\n",
    "duplicate_names": b"a,b,a,y\n1,2,3,4\n",
    "empty_name": b"a,,y\n1,2,3\n",
    "trailing_comma": b"a,y,\n1,2,\n",
    "control_character_in_name": b"a\x1b[31m,y\n1,2\n",
    "invalid_utf8_name": b"a\xff,y\n1,2\n",
    "overlong_utf8_name": b"a\xc0\xaf,y\n1,2\n",
    "direction_override_in_name": "a\u202eb,y\n1,2\n".encode(),
    "long_name": b"a" * 257 + b",y\n1,2\n",
    "single_column": b"y\n1\n2\n",
    "carriage_returns_only": b"a,b,y\r1,2,3\r4,5,6\r",
    "carriage_return_inside": b"a,b,y\n1,2,3\n4,\r5,6\n",
    "nul_byte": b"a,b,y\n1,2,3\n4,5\x00,6\n",
    "utf16": "a,b,y\n1,2,3\n".encode("utf-16"),
    "unterminated_quote": b'a,b,y\n1,2,3\n4,"5,6\n7,8,9\n',
    "quote_in_unquoted_field": b'a,b,y\n1,2,3\n4,5"6,7\n',
    "text_after_closing_quote": b'a,b,y\n1,2,3\n4,"5"6,7\n',
    "gzip_named_csv": gzip.compress(b"a,y\n1,2\n", mtime=0),
}

PLAIN = gzip.compress(CSV["plain"], mtime=0)
WRONG_CHECKSUM = bytearray(PLAIN)
WRONG_CHECKSUM[-8] ^= 1  # CRC-32 of the text

GZIP = {
    "plain": PLAIN,
    "two_members": gzip.compress(b"a,b,y\n1,2,", mtime=0) + gzip.compress(b"3\n4,5,6\n", mtime=0),
    "empty_member": PLAIN + gzip.compress(b"", mtime=0),
    "truncated": PLAIN[:-12],
    "truncated_before_checksum": PLAIN[:-8],
    "wrong_checksum": bytes(WRONG_CHECKSUM),
    "garbage_after": PLAIN + b"garbage",
    "not_gzip": CSV["plain"],
    "zlib_not_gzip": zlib.compress(CSV["plain"]),
    "empty": b"",
    "empty_inside": gzip.compress(b"", mtime=0),
    "nan_inside": gzip.compress(CSV["nan"], mtime=0),
}


def npy(descr, shape, data, fortran=False, version=1, header=None, pad=64):
    """The bytes of a .npy file; `header` replaces the dictionary."""
    text = header if header is not None else "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (
        descr if descr.startswith("[") else repr(descr), fortran, shape)
    prefix = 10 if version == 1 else 12
    text = text.encode() + b" " * (-(prefix + len(text.encode()) + 1) % pad) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


ROWS = [(1.5, 2, 3), (4, -5, 6)]
FLAT = [value for row in ROWS for value in row]
COLUMNS = [row[j] for j in range(3) for row in ROWS]
WHOLE = [int(value) for value in FLAT]
F8 = struct.pack("<6d", *FLAT)

NPY = {
    "float64": npy("<f8", "(2, 3)", F8),
    "float64_version_2": npy("<f8", "(2, 3)", F8, version=2),
    "float64_version_3": npy("<f8", "(2, 3)", F8, version=3),
    "float64_long_header": npy("<f8", "(2, 3)", F8, pad=256),  # length bytes >= 128
    "float64_python2_shape": npy("<f8", "(2L, 3L)", F8),
    "float64_big_endian": npy(">f8", "(2, 3)", struct.pack(">6d", *FLAT)),
    "float64_fortran": npy("<f8", "(2, 3)", struct.pack("<6d", *COLUMNS), fortran=True),
    "float32": npy("<f4", "(2, 3)", struct.pack("<6f", *FLAT)),
    "int64": npy("<i8", "(2, 3)", struct.pack("<6q", *WHOLE)),
    "int32_big_endian_fortran": npy(">i4", "(2, 3)", struct.pack(">6i", *[int(v) for v in COLUMNS]), fortran=True),
    "int8": npy("|i1", "(2, 3)", struct.pack("<6b", *WHOLE)),
    "uint16": npy("<u2", "(2, 3)", struct.pack("<6H", *[abs(v) for v in WHOLE])),
    "bool": npy("|b1", "(2, 3)", bytes([1, 0, 1, 0, 1, 1])),
    "one_row": npy("<f8", "(1, 3)", F8[:24]),
    "one_column": npy("<f8", "(6, 1)", F8),
    "one_dimension": npy("<f8", "(6,)", F8),
    "three_dimensions": npy("<f8", "(1, 2, 3)", F8),
    "no_dimension": npy("<f8", "()", F8[:8]),
    "no_rows": npy("<f8", "(0, 3)", b""),
    "no_columns": npy("<f8", "(3, 0)", b""),
    "nan": npy("<f8", "(2, 3)", struct.pack("<6d", 1, 2, 3, 4, float("nan"), 6)),
    "infinite": npy("<f4", "(2, 3)", struct.pack("<6f", 1, 2, float("-inf"), 4, 5, 6)),
    "float16": npy("<f2", "(2, 3)", struct.pack("<6e", *FLAT)),
    "complex": npy("<c16", "(1, 3)", F8),
    "object": npy("|O", "(2, 3)", b"\x80\x03]q\x00."),
    "text": npy("<U1", "(2, 3)", b"a\0\0\0" * 6),
    "structure": npy("[('a', '<f8'), ('b', '<f8')]", "(3,)", F8),
    "truncated": npy("<f8", "(2, 3)", F8)[:-1],
    "truncated_in_header": npy("<f8", "(2, 3)", F8)[:60],
    "truncated_in_preamble": npy("<f8", "(2, 3)", F8)[:9],
    "bytes_after": npy("<f8", "(2, 3)", F8 + b"\0"),
    "empty": b"",
    "wrong_magic": b"\x93NUMPZ" + npy("<f8", "(2, 3)", F8)[6:],
    "version_9": npy("<f8", "(2, 3)", F8)[:6] + b"\x09" + npy("<f8", "(2, 3)", F8)[7:],
    "shape_overflow": npy("<f8", "(4294967296, 4294967296)", b""),
    "shape_overflow_to_fit": npy("<f8", "(2305843009213693952, 8)", b""),  # 2^61 * 8 * 8 = 0 modulo 2^64
    "shape_too_many_digits": npy("<f8", "(99999999999999999999999, 1)", b""),
    "shape_negative": npy("<f8", "(-2, -3)", F8),
    "shape_huge": npy("<f8", "(1000000000, 1000)", F8),
    "shape_missing": npy("", "", F8, header="{'descr': '<f8', 'fortran_order': False, }"),
    "shape_not_a_tuple": npy("", "", F8, header="{'descr': '<f8', 'fortran_order': False, 'shape': 6, }"),
    "shape_empty_value": npy("", "", F8, header="{'descr': '<f8', 'fortran_order': False, 'shape': }"),
    "header_empty": b"\x93NUMPY\x01\x00\x00\x00" + F8,
    "header_length_4_gib": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + F8,
    "header_many_digits": npy("", "", F8, header="{'descr': '<f%s', 'fortran_order': False, 'shape': (2, 3), }" % ("8" * 900)),
    "header_fortran_maybe": npy("", "", F8, header="{'descr': '<f8', 'fortran_order': Maybe, 'shape': (2, 3), }"),
}


def main():
    for folder, files, ending in (("csv", CSV, ".csv"), ("csv", GZIP, ".csv.gz"), ("npy", NPY, ".npy")):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (CORPUS / folder / (name + ending)).write_bytes(content)


if __name__ == "__main__":
    main()
