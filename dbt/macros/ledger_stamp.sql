{#- When a ledger's cell says something was typed, UTC. The cell is a text in Philippine time, which
    is UTC+8 all year, as the sheet's script writes it, or the number that Sheets makes of a time:
    days since 1899-12-30 in the sheet's zone, which is the same. Anything else is null. -#}
{% macro ledger_stamp(cell) -%}
    timestamp_sub(
            timestamp(
                coalesce(
                    safe_cast(
                        regexp_extract(
                            {{ cell }}, r'^\s*(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2})\s*$'
                        ) as datetime
                    ),
                    datetime_add(
                        datetime '1899-12-30 00:00:00',
                        interval cast(
                            round(
                                safe_cast(
                                    regexp_extract(
                                        {{ cell }}, r'^\s*([1-9]\d{0,5}(?:\.\d+)?)\s*$'
                                    ) as float64
                                ) * 86400
                            ) as int64
                        ) second
                    )
                )
            ),
            interval 8 hour
        )
{%- endmacro %}
