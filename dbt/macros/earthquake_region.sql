{#- The last part of USGS's place: '11 km N of Delta, B.C., MX' lies in Mexico. A place without a
    comma, such as 'Carlsberg Ridge', is a region by itself. -#}
{% macro earthquake_region(place) -%}
    case regexp_extract({{ place }}, r',\s*([^,]+)$')
        when 'CA' then 'California'
        when 'MX' then 'Mexico'
        else coalesce(
            nullif(
                regexp_replace(
                    trim(coalesce(regexp_extract({{ place }}, r',\s*([^,]+)$'), {{ place }})),
                    r'\s+region$',
                    ''
                ),
                ''
            ),
            'unknown'
        )
    end
{%- endmacro %}
