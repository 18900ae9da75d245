{#- The address of a page as one text, whatever link led there: without scheme, www, port, fragment,
    final slash and the parameters by which senders track their readers; the others sorted. The site
    is the host. -#}
{% macro url_site(url) -%}
    regexp_replace(
        lower(regexp_extract({{ url }}, r'^(?:[A-Za-z][A-Za-z0-9+.-]*://)?([^/?#]+)')),
        r'^www\.|:(?:80|443)$',
        ''
    )
{%- endmacro %}


{% macro normalised_url(url) -%}
    concat(
        coalesce({{ url_site(url) }}, ''),
        coalesce(
            rtrim(
                regexp_extract({{ url }}, r'^(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^/?#]+([^?#]*)'), '/'
            ),
            ''
        ),
        coalesce(
            (
                select concat('?', string_agg(parameter, '&' order by parameter))
                from unnest(split(regexp_extract({{ url }}, r'\?([^#]*)'), '&')) as parameter
                where
                    parameter != ''
                    and not regexp_contains(
                        lower(parameter),
                        r'^(utm_[a-z_]+|fbclid|gclid|dclid|msclkid|yclid|igshid|mc_[ce]id)(=|$)'
                    )
            ),
            ''
        )
    )
{%- endmacro %}
